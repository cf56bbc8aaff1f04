runp features

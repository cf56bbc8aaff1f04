runp spec --rootless=false && cat config.json

runp state --frobnicate x

runp --frobnicate list

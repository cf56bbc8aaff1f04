runp

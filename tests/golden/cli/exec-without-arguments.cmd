runp --root ./none exec

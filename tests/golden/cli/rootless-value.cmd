runp --rootless maybe list

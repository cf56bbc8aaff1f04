runp --help

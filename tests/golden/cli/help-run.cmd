runp run --help

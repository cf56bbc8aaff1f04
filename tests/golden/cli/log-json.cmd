runp --log log --log-format json --root none list; cat log

runp --log log --root none list; cat log

runp --log none/log --root none list

runp --log-format=json --root none list

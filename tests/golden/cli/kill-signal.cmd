runp --root none kill x FOO

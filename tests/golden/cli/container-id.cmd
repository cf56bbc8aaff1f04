runp --root none state a/b; runp --root none state ..; runp --root none kill ""

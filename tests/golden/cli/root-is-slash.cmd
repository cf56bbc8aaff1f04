runp --root=../../../../../../.. list

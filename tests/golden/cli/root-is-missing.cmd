runp -root none list

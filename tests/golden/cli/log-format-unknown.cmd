runp --log-format xml list

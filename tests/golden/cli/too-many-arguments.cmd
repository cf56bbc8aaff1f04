runp kill a TERM b

runp state

runp spec; echo changed > config.json; runp spec; cat config.json

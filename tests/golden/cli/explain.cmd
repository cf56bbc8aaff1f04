runp explain
runp spec
runp explain -b . | grep -v cgroup | head -12
runp explain --json | head -8

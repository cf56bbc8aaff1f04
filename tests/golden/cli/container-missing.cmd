for command in state delete kill start; do runp --root none $command x; done
runp --root none exec x sh
runp --root none delete --force x

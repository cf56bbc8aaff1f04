for command in events pause ps resume update; do runp $command --help; runp $command; done

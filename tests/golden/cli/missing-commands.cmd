for command in checkpoint events pause ps restore resume update; do runp $command x; done

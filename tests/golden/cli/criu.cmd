for command in checkpoint restore; do runp $command --help; runp $command --image-path x y; done

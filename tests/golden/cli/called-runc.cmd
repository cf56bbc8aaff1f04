ln -s "$(command -v runp)" runc; ./runc --version; ./runc --help | head -n 5; ./runc start; mkdir b; ./runc run -b b x

runp --version; runp -v; runp -version

mkdir b; runp spec -b b; ls b; runp spec --bundle none

mkdir -p -m 700 r/x; runp --root r list; runp --root r kill x; runp --root r delete x; ls r

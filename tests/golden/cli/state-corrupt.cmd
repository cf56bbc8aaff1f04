mkdir -p -m 700 r/x; echo "{" > r/x/state.json; runp --root r state x; runp --root r list; runp --root r delete x; ls r; runp --root r delete -f x; ls r

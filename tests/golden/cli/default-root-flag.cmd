mkdir r; runp -root r list; runp --root r list -f json; runp --root=r list -q

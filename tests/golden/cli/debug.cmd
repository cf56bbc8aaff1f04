mkdir r; runp -debug=true --root r list

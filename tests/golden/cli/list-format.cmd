mkdir r; runp --root r list --format yaml

runp create -h

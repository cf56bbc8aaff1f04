runp create --bundle

runp create --preserve-fds many x

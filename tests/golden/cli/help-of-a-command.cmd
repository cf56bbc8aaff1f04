runp help exec

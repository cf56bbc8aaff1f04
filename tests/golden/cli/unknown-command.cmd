runp frobnicate

"""`mcqa demo`: the whole loop at work, told as it happens."""

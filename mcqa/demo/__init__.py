"""`mcqa demo`: the whole loop at work, narrated as it happens."""

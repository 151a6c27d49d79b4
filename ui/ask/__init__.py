"""The page Ask: what somebody types, the requests in the background, and how an answer is shown."""

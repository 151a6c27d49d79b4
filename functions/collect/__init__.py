"""collect: the payload log and the feedback, as rows that the other functions query."""

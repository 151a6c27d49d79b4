"""The page Events: searching, one event and its way, traces, who listens to what, dead letters."""

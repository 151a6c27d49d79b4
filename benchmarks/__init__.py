"""Measurements against the peers, on the real architecture with random weights: `make bench`."""

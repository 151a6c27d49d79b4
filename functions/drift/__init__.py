"""Has the traffic moved away from what the champion version was measured on? See decision.py."""

"""drift: has the traffic moved away from the champion's reference? See decision.py."""

"""rollout: takes a challenger through its canary steps to champion, or back. See decision.py and analysis.py."""

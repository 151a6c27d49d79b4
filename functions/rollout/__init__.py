"""Takes a challenger version through its canary steps to champion, or back out. See decision.py and analysis.py."""

"""notify: tells people what happened, why, and what to do."""

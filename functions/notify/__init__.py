"""notify: notifies people what happened, why, and what to do."""

"""The parts of the Rollout page."""

"""The parts of the page Versions."""

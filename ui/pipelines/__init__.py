"""The parts of the page Pipelines."""

"""The retraining pipeline, its steps, and the question bank."""

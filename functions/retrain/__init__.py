"""retrain: one pipeline run for one drift, and what becomes of it."""

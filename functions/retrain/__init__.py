"""retrain: one pipeline run per drift or request, followed to its end."""

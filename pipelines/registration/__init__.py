"""Model versions on their way into MLflow: runs with their lineage, versions, aliases, and the registry's webhook."""

"""MLflow runs and their lineage."""

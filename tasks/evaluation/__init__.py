"""Generation, metrics, significance, the gate, reports and plots; no Prefect, MLflow or lakeFS."""

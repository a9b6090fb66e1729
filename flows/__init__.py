"""The DAGs and the hone command."""

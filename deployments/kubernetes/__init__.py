"""Manifests of trainings on Kubernetes: templates, and what renders them."""

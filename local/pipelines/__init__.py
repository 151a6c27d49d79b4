"""Kubeflow Pipelines on one machine: its v2beta1 REST API over SQLite, and kfp.local to run compiled pipelines."""

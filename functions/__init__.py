"""The loop's Knative functions: in each folder a pure decision and, around it, a thin handler."""

"""The manifests: rendering every overlay and validating each document."""

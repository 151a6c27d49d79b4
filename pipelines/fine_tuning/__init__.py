"""Fine-tuning a version: every weight of a tiny one, LoRA for a real one. See methods.py."""

"""Fine-tuning a version: every weight of a tiny one, LoRA for a larger one. Which of the two: methods.py."""

"""Where model versions come from: local folders, MLflow's registry, the Hugging Face Hub.

Only data is ever fetched (safetensors, JSON, Jinja, text); a pickle never is.
"""

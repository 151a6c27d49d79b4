"""MLflow's REST API: one client for the predictor, the functions, the pipelines and the tools.

Hand-written: `import mlflow` takes 3 s and 174 MB, too much for the cold start of a function or a pipeline step.
"""

"""The retraining pipeline: labelled feedback in, a gated and registered challenger out.

`pipeline.py` is the Kubeflow pipeline, `components.py` its components; each calls one plain function in `steps/`.
"""

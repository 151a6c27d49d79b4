"""One module a pipeline step; each step is a plain function of paths and values, without kfp."""

import logging

# Kubeflow's executor logs at INFO: a line for each request to the registry would bury what the step has to say.
logging.getLogger("httpx").setLevel(logging.WARNING)

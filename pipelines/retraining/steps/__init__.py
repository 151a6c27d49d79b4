"""One module per pipeline step, by the step's name; each is a plain function of paths and values, without kfp."""

import logging

# Kubeflow's executor logs at INFO: a line for each request to the registry would bury the step's own output.
logging.getLogger("httpx2").setLevel(logging.WARNING)

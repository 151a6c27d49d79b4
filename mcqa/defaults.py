"""What the verbs assume when no option says otherwise."""

from __future__ import annotations

from predictor.serving.settings import SHIPPED_MODEL, Settings

_server = Settings()
MODEL_NAME = _server.model_name
HOST = _server.host
HTTP_PORT = 8090
"""Of `mcqa serve` and `mcqa quickstart`. The server's own default, 8080, is the loop's gateway on a laptop."""
GRPC_PORT = 8091
"""The server's own default, 8081, is the loop's broker on a laptop."""
URL = f"http://{HOST}:{HTTP_PORT}"
GRPC_TARGET = f"{HOST}:{GRPC_PORT}"
TINY_MODEL = SHIPPED_MODEL
"""The trained tiny model that the repository ships."""
REAL_MODEL = "hf://Qwen/Qwen2.5-Coder-1.5B-Instruct"
REQUEST_TIMEOUT = 120.0
"""Seconds: a real-size model on two cores needs a while for a batch."""

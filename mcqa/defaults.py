"""What the verbs assume when they are not told."""

from __future__ import annotations

from predictor.serving.settings import SHIPPED_MODEL, Settings

_server = Settings()
MODEL_NAME = _server.model_name
HOST = _server.host
HTTP_PORT = _server.http_port
GRPC_PORT = _server.grpc_port
URL = f"http://{HOST}:{HTTP_PORT}"
GRPC_TARGET = f"{HOST}:{GRPC_PORT}"
TINY_MODEL = SHIPPED_MODEL
"""The trained tiny model that the repository ships."""
REAL_MODEL = "hf://Qwen/Qwen2.5-Coder-1.5B-Instruct"

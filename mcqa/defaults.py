"""What the verbs and the page assume when nothing says otherwise."""

from __future__ import annotations

from pathlib import Path

from common.names import INFERENCE_SERVICE

MODEL_NAME = INFERENCE_SERVICE
HOST = "127.0.0.1"
HTTP_PORT = 8090
"""Of `mcqa serve` and `mcqa quickstart`. The server's own default, 8080, is the loop's gateway on a laptop."""
GRPC_PORT = 8091
"""The server's own default, 8081, is the loop's broker on a laptop."""
URL = f"http://{HOST}:{HTTP_PORT}"
GRPC_TARGET = f"{HOST}:{GRPC_PORT}"
TINY_MODEL = Path(__file__).resolve().parents[1] / "models" / "tiny"
"""The trained tiny model that the repository ships."""
REAL_MODEL = "hf://Qwen/Qwen2.5-Coder-1.5B-Instruct"
REQUEST_TIMEOUT = 120.0
"""Seconds: a real-size model on two cores needs a while for a batch."""

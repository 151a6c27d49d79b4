"""How the MLflow server is started here: SQLite, artifacts through its proxy, webhooks to loopback receivers."""

from __future__ import annotations

import base64
import sys
from pathlib import Path


def command(folder: Path, port: int) -> tuple[str, ...]:
    """The server's command line; its database and artifacts lie in `folder`."""
    return (
        sys.executable, "-m", "mlflow", "server",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
    )  # fmt: skip


def environment(encryption_key: str) -> dict[str, str]:
    """What the server needs in its environment. `encryption_key` guards the webhooks' secrets in its database: another
    key after a restart makes it unable to sign.
    """
    return {
        # Nine processes and 13 s of start-up for features nobody uses here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": encryption_key,
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "https,http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        # A failed delivery holds a thread of the server; the rollout function's timer heals what is lost.
        "MLFLOW_WEBHOOK_REQUEST_TIMEOUT": "10",
        # For how long the server goes on believing that there is no webhook.
        "MLFLOW_WEBHOOK_CACHE_TTL": "5",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


def new_key(random: bytes) -> str:
    """A Fernet key from 32 random bytes."""
    return base64.urlsafe_b64encode(random).decode()

"""How the MLflow server is started here: SQLite, artifacts through its proxy, webhooks to loopback receivers."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterable
from pathlib import Path


def command(folder: Path, port: int, hosts: Iterable[str] = ()) -> tuple[str, ...]:
    """The server's command line; its database and artifacts are in `folder`. `hosts` are further names of this machine.

    Its own list of hosts has names like 10.*, which a page on the web may have as well (10.example.org).
    """
    names = ["localhost", "127.0.0.1", "[[]::1]", *sorted(hosts)]  # its patterns are fnmatch's
    return (
        sys.executable, "-m", "mlflow", "server",
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "artifacts"),
        "--allowed-hosts", ",".join([*(name.replace("[[]", "[") for name in names), *(f"{name}:*" for name in names)]),
    )  # fmt: skip


def environment(encryption_key: str) -> dict[str, str]:
    """What the server needs in its environment. `encryption_key` guards the webhooks' secrets in its database: another
    key after a restart makes it unable to sign.
    """
    return {
        # Saves nine processes and 13 s of start-up for features that are not used here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": encryption_key,
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "https,http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        # A failed delivery holds a thread of the server; the rollout function's timer heals what is lost.
        "MLFLOW_WEBHOOK_REQUEST_TIMEOUT": "10",
        # How long the server caches that there is no webhook.
        "MLFLOW_WEBHOOK_CACHE_TTL": "5",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


def new_encryption_key(random: bytes) -> str:
    """A Fernet key from 32 random bytes."""
    return base64.urlsafe_b64encode(random).decode()

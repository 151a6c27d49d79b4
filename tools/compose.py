"""`.env` for compose.yaml with random passwords."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from tools.project import DEPLOY, ROOT

PASSWORD_BYTES = 24


def write_env(path: Path = ROOT / ".env", example: Path = DEPLOY / "compose/env.example") -> None:
    """An existing one is left as it is: the database keeps its first password."""
    if path.exists():
        print("compose-env: .env is there already; nothing changed")
        return
    text = re.sub(
        r"^(?:POSTGRES|GRAFANA)_PASSWORD=$",
        lambda line: line[0] + secrets.token_hex(PASSWORD_BYTES),
        example.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    part = path.with_name(f"{path.name}.new")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)
    print("compose-env: wrote .env (Grafana: user admin, password GRAFANA_PASSWORD)")

"""The long-lived processes that the supervisor runs: the broker, the MLflow server, the pipelines' API, the page."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from local.origins import ALLOWED_HOSTS, allowed_hosts
from local.platform import commands, mlflow_server
from local.platform.environment import base_environment, loop_environment
from local.platform.settings import HOST, Folder, Settings
from local.platform.supervised_process import Program
from local.tokens import read_or_create_token

UI = "ui"
"""The page's name; it is started when everything else is up, so that no first answer waits for it."""


def programs(folder: Folder, settings: Settings) -> list[Program]:
    """In the order in which they are started."""
    hosts = {ALLOWED_HOSTS: names} if (names := os.environ.get(ALLOWED_HOSTS)) else {}
    servers = [_broker(folder, settings, hosts), _mlflow(folder, settings, hosts), _pipelines(folder, settings, hosts)]
    return [*servers, _ui(folder, settings, hosts)] if settings.ui else servers


def _broker(folder: Folder, settings: Settings, hosts: Mapping[str, str]) -> Program:
    state = _made(folder.path / "broker")
    argv = (
        sys.executable, "-m", "local.broker",
        "--database", str(state / "broker.db"), "--port", str(settings.ports.broker),
        "--token-file", str(folder.broker_token),
        "--connect-to", f"svc.cluster.local={HOST}:{settings.ports.internal}",
    )  # fmt: skip
    env = {**base_environment(folder), **hosts, **_token_digest(folder.broker_token)}
    return Program("broker", argv, env, settings.ports.broker, "/readyz")


def _mlflow(folder: Folder, settings: Settings, hosts: Mapping[str, str]) -> Program:
    state, port = _made(folder.path / "mlflow"), settings.ports.mlflow
    env = {**base_environment(folder), **mlflow_server.environment(folder.secrets()["encryption"])}
    return Program("mlflow", mlflow_server.command(state, port, allowed_hosts(hosts)), env, port, "/health")


def _pipelines(folder: Folder, settings: Settings, hosts: Mapping[str, str]) -> Program:
    state, port = _made(folder.path / "pipelines"), settings.ports.pipelines
    argv = (
        sys.executable, "-m", "local.pipelines", "--folder", str(state), "--port", str(port),
        "--token-file", str(folder.pipelines_token),
        *(("--ui", settings.pipelines_ui) if settings.pipelines_ui else ()),
    )  # fmt: skip
    env = {
        **base_environment(folder), **hosts, **_without_webhook(loop_environment(folder, settings)),
        **_token_digest(folder.pipelines_token),
    }  # fmt: skip
    return Program("pipelines", argv, env, port, "/apis/v2beta1/healthz")


def _ui(folder: Folder, settings: Settings, hosts: Mapping[str, str]) -> Program:
    port = settings.ports.ui
    argv = (*commands.python_module(*commands.PAGE), "--host", HOST, "--port", str(port))
    env = {
        **base_environment(folder), **hosts, **_without_webhook(loop_environment(folder, settings)),
        "MCQA_LOCAL_DIR": str(folder.path), "MCQA_URL": f"http://{HOST}:{settings.ports.gateway}",
        "MCQA_UI_ACTIONS": "true" if settings.ui_actions else "false",
    }  # fmt: skip
    return Program(UI, argv, env, port, "/_stcore/health")


def places(folder: Folder) -> list[tuple[str, Path]]:
    """Who writes where. Only whether the folder can be written is tried, which covers MLflow and functions too."""
    path = folder.path
    return [
        ("supervisor", path), ("API", path / "kube"), ("broker", path / "broker"), ("mlflow", path / "mlflow"),
        ("pipelines", path / "pipelines"), ("functions", folder.database.parent), ("processes", folder.serving),
    ]  # fmt: skip


def _token_digest(path: Path) -> dict[str, str]:
    """Part of a program's digest: a process that was started with another token is not adopted."""
    return {"MCQA_TOKEN_DIGEST": hashlib.sha256(read_or_create_token(path).encode()).hexdigest()[:16]}


def _without_webhook(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("MCQA_WEBHOOK_SECRET")}


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path

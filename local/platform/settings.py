"""The platform's settings, and where it keeps its state: everything is under one folder."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import IO, Any

from local.platform.mlflow_server import new_encryption_key
from local.ports import free_ports
from local.storage import DESCRIPTIONS, failure_code

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: the manifests' commands are run in it."""

FOLDER = ROOT / ".local"
BROKER = "default"
HOST = "127.0.0.1"
STATUS_PATH = "/-/status"
"""On the API's port, with its token: what status.json says, even while that cannot be written."""


class PlatformError(Exception):
    """The platform cannot start or continue; one line for people."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports; 0 takes a free one at the first start. `internal` is the gateway's cluster-local listener."""

    gateway: int = 8080
    api: int = 6443
    broker: int = 8081
    mlflow: int = 5000
    pipelines: int = 8888
    ui: int = 8501
    internal: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """`config` replaces values of the ConfigMap `loop`, `schedules` those of PingSources, by name; as an operator would
    with kubectl. `source` is the version registered first. `replica_cap` bounds every service's replicas (0: not). `ui`
    is whether the page runs, `ui_actions` whether people may act on it. `pipelines_ui` is a folder with a build of
    Kubeflow Pipelines' UI, "" for none.
    """

    ports: Ports = field(default_factory=Ports)
    config: Mapping[str, str] = field(default_factory=dict)
    schedules: Mapping[str, str] = field(default_factory=dict)
    source: str = "models/tiny"
    replica_cap: int = 1
    ui: bool = True
    ui_actions: bool = False
    pipelines_ui: str = ""

    @property
    def used_ports(self) -> Ports:
        """The ports with 0 for those that nothing will listen on."""
        return self.ports if self.ui else replace(self.ports, ui=0)


@dataclass(frozen=True, slots=True)
class Folder:
    """The platform's folder."""

    path: Path

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    @property
    def serving(self) -> Path:
        return self.path / "serving"

    @property
    def processes(self) -> Path:
        return self.path / "platform"

    @property
    def database(self) -> Path:
        return self.path / "loop.db"

    @property
    def log(self) -> Path:
        return self.path / "supervisor.log"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def broker_token(self) -> Path:
        """For the broker's admin interface."""
        return self.path / "broker" / "token"

    @property
    def pipelines_token(self) -> Path:
        """For the pipelines' API; on a multi-user cluster the kubelet writes such a file."""
        return self.path / "pipelines" / "token"

    def make(self) -> None:
        """The folder, readable by its owner only: it holds keys. PlatformError when nothing can be written there."""
        if self.path.is_symlink() and not self.path.exists():
            raise PlatformError(f"{self.path} is a dangling link: remove it, or create what it points to")
        with self._writing():
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)

    def settings(self) -> Settings:
        """As last saved; the defaults before. PlatformError when the file is not usable."""
        try:
            data = json.loads((self.path / "settings.json").read_text())
            return _validated(Settings(**{**data, "ports": Ports(**data["ports"])}))
        except FileNotFoundError:
            return Settings()
        except (ValueError, TypeError, KeyError) as error:
            raise PlatformError(f"{self.path / 'settings.json'} is not usable: {error}; remove it") from None

    def save(self, settings: Settings) -> Settings:
        """Saved, with ports 0 replaced by free ones."""
        ports = settings.ports
        if unset := [port.name for port in fields(ports) if getattr(ports, port.name) == 0]:
            ports = replace(ports, **dict(zip(unset, free_ports(len(unset)), strict=True)))
        settings = replace(settings, ports=ports)
        with self._writing():
            write_json(self.path / "settings.json", asdict(settings))
        return settings

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = DESCRIPTIONS[code] if (code := failure_code(error)) else error.strerror
            raise PlatformError(f"cannot write in {self.path}: {why}") from None

    def secrets(self) -> dict[str, str]:
        """Made at the first start and kept: the webhook's secret, and the key that guards it in MLflow's database.

        Whoever writes another `webhook` there may keep the one before as `webhook_previous`.
        """
        path = self.path / "secrets.json"
        if not path.exists():
            generated = {
                "webhook": secrets.token_urlsafe(32),
                "encryption": new_encryption_key(secrets.token_bytes(32)),
            }
            with self._writing():
                write_json(path, generated, mode=0o600)
        values: dict[str, str] = json.loads(path.read_text())
        return values

    def lock(self) -> IO[str] | None:
        """Held by the one supervisor of this folder while it lives; None when another holds it."""
        with self._writing():
            file = (self.path / "supervisor.lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        with self._writing():
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
        return file

    def running(self) -> int | None:
        """The process id of the supervisor that holds this folder."""
        path = self.path / "supervisor.lock"
        if not path.exists():
            return None
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return int(file.read() or 0) or None
        return None


def _validated(settings: Settings) -> Settings:
    """The same; ValueError for a value of another kind, which a person wrote into the file."""
    for name, port in asdict(settings.ports).items():
        if type(port) is not int or not 0 <= port <= 65535:
            raise ValueError(f"the port {name} must be a whole number up to 65535, found {port!r:.60}")
    for name, pairs in (("config", settings.config), ("schedules", settings.schedules)):
        if not isinstance(pairs, dict) or not all(isinstance(value, str) for value in pairs.values()):
            raise ValueError(f"{name} must be an object of strings")
    if not isinstance(settings.source, str) or type(settings.replica_cap) is not int or settings.replica_cap < 0:
        raise ValueError("source must be a string and replica_cap a whole number from 0 on")
    if type(settings.ui) is not bool or type(settings.ui_actions) is not bool:
        raise ValueError("ui and ui_actions must be true or false")
    if not isinstance(settings.pipelines_ui, str):
        raise ValueError("pipelines_ui must be a string")  # noqa: TRY004 - as for every other value of the file
    return settings


def write_json(path: Path, data: Any, mode: int = 0o644) -> None:
    """Appears whole or not at all; OSError when it cannot be written."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
            json.dump(data, file, indent=1)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise

"""Whether a loop's ports are free, and what to take instead. Standard library only: it runs before set-up, too."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from local.platform import listeners
from local.platform.settings import HOST, Folder, Ports
from local.serving.settings import GATEWAY, gateway_ports

FLAGS = {"gateway": "--port", "api": "--api-port", "broker": "--broker-port", "mlflow": "--mlflow-port",
         "pipelines": "--pipelines-port", "internal": "--internal-port"}  # fmt: skip


def busy(folder: Folder, ports: Ports) -> dict[str, str]:
    """The ports that cannot be used, by name, with the reason in words and who has them, where that can be known.

    What a killed supervisor left of this loop is no reason: it is taken over.
    """
    wanted = {name: port for name, port in asdict(ports).items() if port}
    reasons = {name: reason for name, port in wanted.items() if (reason := listeners.problem(port, HOST))}
    found = listeners.listeners([wanted[name] for name in reasons])
    left = set() if listeners.known() else _left(folder)
    told = {}
    for name, reason in reasons.items():
        holder = found.get(wanted[name])
        if wanted[name] in left or (holder and holder.folder and holder.folder.resolve() == folder.path.resolve()):
            continue
        told[name] = f"{FLAGS[name]} {wanted[name]} {reason}" + (f" by {holder}" if holder else "")
    return told


def others(ports: Ports, names: list[str]) -> Ports:
    """The same ports, but free ones for those of these names."""
    for name in names:
        free = listeners.next_free(getattr(ports, name), set(asdict(ports).values()))
        ports = replace(ports, **{name: free})
    return ports


def flags(ports: Ports, names: list[str]) -> str:
    """The options of `mcqa up` that choose these ports."""
    return " ".join(f"{FLAGS[name]} {getattr(ports, name)}" for name in names)


def _left(folder: Folder) -> set[int]:
    """Ports of what a killed supervisor may have left behind."""
    found = (
        set(gateway_ports(folder.serving) or ()) if any((folder.serving / GATEWAY / "pods").glob("*.json")) else set()
    )
    for path in (folder.parts / "pods").glob("*.json"):
        try:
            found.add(int(json.loads(path.read_text())["port"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found

"""Whether a loop's ports are free, and what to take instead. Standard library only: it runs before set-up, too."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from local.platform import listeners
from local.platform.settings import HOST, Folder, Ports
from local.serving.settings import GATEWAY, gateway_ports

FLAGS = {"gateway": "--port", "api": "--api-port", "broker": "--broker-port", "mlflow": "--mlflow-port",
         "pipelines": "--pipelines-port", "ui": "--ui-port", "internal": "--internal-port"}  # fmt: skip


def unavailable_ports(folder: Folder, ports: Ports) -> dict[str, str]:
    """The ports that cannot be used, by name, with the reason and, where it can be known, who has them.

    What a killed supervisor of this loop left does not count: it is adopted.
    """
    numbers = {name: port for name, port in asdict(ports).items() if port}
    reasons = {name: reason for name, port in numbers.items() if (reason := listeners.bind_problem(port, HOST))}
    owners = listeners.find_listeners([numbers[name] for name in reasons])
    left_behind = set() if listeners.is_supported() else _left_behind_ports(folder)
    problems = {}
    for name, reason in reasons.items():
        holder = owners.get(numbers[name])
        if numbers[name] in left_behind or (
            holder and holder.folder and holder.folder.resolve() == folder.path.resolve()
        ):
            continue
        problems[name] = f"{FLAGS[name]} {numbers[name]} {reason}" + (f" by {holder}" if holder else "")
    return problems


def with_free_ports(ports: Ports, names: list[str]) -> Ports:
    """The same ports, with free ones for those names."""
    for name in names:
        free = listeners.next_free_port(getattr(ports, name), set(asdict(ports).values()))
        ports = replace(ports, **{name: free})
    return ports


def port_flags(ports: Ports, names: list[str]) -> str:
    """The options of `mcqa up` that choose these ports."""
    return " ".join(f"{FLAGS[name]} {getattr(ports, name)}" for name in names)


def _left_behind_ports(folder: Folder) -> set[int]:
    """Ports of what a killed supervisor may have left behind."""
    ports = (
        set(gateway_ports(folder.serving) or ()) if any((folder.serving / GATEWAY / "pods").glob("*.json")) else set()
    )
    for path in (folder.processes / "pods").glob("*.json"):
        try:
            ports.add(int(json.loads(path.read_text())["port"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return ports

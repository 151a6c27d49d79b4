"""From a Revision to the process that stands for its pod: command, environment, probe.

A container's image is not run: its command is, on this machine, with loopback addresses and a port of its own. What a
process cannot have (fieldRef, exec and gRPC probes, resource limits) is said in `notes`.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.kube.resources import Object
from local.serving.hosts import reachable
from local.serving.predictors import MODEL_DIR

Lookup = Callable[[str, str], Object | None]
"""(`ConfigMap` or `Secret`, name) of the revision's namespace."""

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_PYTHON = re.compile(r"(?:.*/)?python(?:3(?:\.\d+)?)?")


class SpecError(ValueError):
    """The process cannot be started as the manifest wants it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """When a process is ready: GET `path` answers 200 to 399, or, without a path, its port accepts. Seconds."""

    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    initial: float = 0.0
    timeout: float = 1.0


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    argv: tuple[str, ...]
    env: Mapping[str, str]
    probe: Probe
    port: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine puts in the place of a cluster's: `env` for every process, and the maps of the settings."""

    env: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    interpreters: Mapping[str, str] = field(default_factory=dict)


def process_spec(revision: Object, lookup: Lookup, machine: Machine, *, port: int, model: str = "") -> ProcessSpec:
    """The process of a revision's first container on `port`; `model` is the folder that /mnt/models stands for.

    SpecError when there is no command, or a ConfigMap, Secret or key that is not optional is missing.
    """
    notes: list[str] = []
    metadata = revision["metadata"]
    containers = revision["spec"].get("containers") or [{}]
    container = containers[0]
    if len(containers) > 1:
        notes.append(f"only the first of {len(containers)} containers runs")
    service = (metadata.get("labels") or {}).get("serving.knative.dev/service", metadata["name"])
    own = {
        "PORT": str(port),
        "HOST": "127.0.0.1",
        "K_REVISION": metadata["name"],
        "K_SERVICE": service,
        "K_CONFIGURATION": service,
    }
    stated = _environment(container, lookup, own, notes)

    def local(text: str) -> str:
        text = text.replace(MODEL_DIR, model) if model else text
        return reachable(_loopback(text), dict(machine.addresses))

    stated = {name: local(value) for name, value in stated.items()}
    command = [*(container.get("command") or ()), *(container.get("args") or ())]
    if not container.get("command"):
        raise SpecError(f"revision {metadata['name']}: its container has no command, and images are not run here")
    argv = [local(_expanded(text, {**stated, **own})) for text in command]
    if _PYTHON.fullmatch(argv[0]):
        argv[0] = _interpreter(container.get("image") or "", machine.interpreters)
    notes += [f"{name} is not enforced" for name in ("resources", "securityContext") if container.get(name)]
    return ProcessSpec(
        tuple(argv),
        {**machine.env, **stated, **own},
        _probe(container.get("readinessProbe"), notes),
        port,
        tuple(notes),
    )


def _environment(
    container: Mapping[str, Any], lookup: Lookup, own: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    env: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        for kind, field_name in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            reference = source.get(field_name)
            if not reference:
                continue
            for key, value in _data(kind, reference, lookup).items():
                env[(source.get("prefix") or "") + key] = value
    for item in container.get("env") or ():
        origin = item.get("valueFrom") or {}
        if not origin:
            env[item["name"]] = _expanded(item.get("value") or "", {**own, **env})
            continue
        reference = origin.get("configMapKeyRef") or origin.get("secretKeyRef")
        if not reference:
            notes.append(f"env {item['name']}: {', '.join(origin)} is of pods only and left out")
            continue
        kind = "ConfigMap" if origin.get("configMapKeyRef") else "Secret"
        data = _data(kind, reference, lookup)
        if reference["key"] in data:
            env[item["name"]] = data[reference["key"]]
        elif not reference.get("optional"):
            raise SpecError(f"env {item['name']}: couldn't find key {reference['key']} in {kind} {reference['name']}")
    return env


def _data(kind: str, reference: Mapping[str, Any], lookup: Lookup) -> dict[str, str]:
    found = lookup(kind, reference["name"])
    if found is None:
        if reference.get("optional"):
            return {}
        raise SpecError(f"{kind.lower()} {reference['name']!r} not found; create it in the revision's namespace")
    data: dict[str, str] = found.get("data") or {}
    if kind == "ConfigMap":
        return dict(data)
    return {name: base64.b64decode(value).decode("utf-8", "replace") for name, value in data.items()}


def _expanded(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` as Kubernetes expands it: unknown names stay, `$$` is a dollar."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return env.get(match[1], match[0])

    return _REFERENCE.sub(one, text)


def _loopback(text: str) -> str:
    """Nothing here listens beyond this machine."""
    return "127.0.0.1" if text == "0.0.0.0" else re.sub(r"^(--?[\w-]+=)0\.0\.0\.0$", r"\g<1>127.0.0.1", text)


def _interpreter(image: str, interpreters: Mapping[str, str]) -> str:
    known = [prefix for prefix in interpreters if image.startswith(prefix)]
    return interpreters[max(known, key=len)] if known else sys.executable


def _probe(stated: Mapping[str, Any] | None, notes: list[str]) -> Probe:
    if not stated:
        return Probe()
    initial, timeout = float(stated.get("initialDelaySeconds") or 0), float(stated.get("timeoutSeconds") or 1)
    if get := stated.get("httpGet"):
        headers = tuple((item["name"], item["value"]) for item in get.get("httpHeaders") or ())
        return Probe(get.get("path") or "/", headers, initial, timeout)
    if not stated.get("tcpSocket"):
        notes.append("readinessProbe: only httpGet and tcpSocket; the port is tried")
    return Probe(initial=initial, timeout=timeout)

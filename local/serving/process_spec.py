"""The process that stands in for a Revision's pod: command, environment, probe. Pure.

A container's image is not run, but its command is, on this host, with loopback addresses and its own port. What a
process cannot have (fieldRef, exec and gRPC probes, resource limits) is listed in `notes`.
"""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.kube.resources import Object
from local.serving.hosts import to_local_url
from local.serving.predictor_service import MODEL_DIR

Lookup = Callable[[str, str], Object | None]
"""(`ConfigMap` or `Secret`, name) of the revision's namespace."""

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_PYTHON = re.compile(r"(?:.*/)?python(?:3(?:\.\d+)?)?")


class ProcessSpecError(ValueError):
    """The process cannot be started as the manifest requires."""


@dataclass(frozen=True, slots=True)
class Probe:
    """When a process is ready: GET `path` returns 200 to 399 or, without a path, its port accepts. In seconds."""

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
class HostEnvironment:
    """What replaces a cluster's on this host: `env` for every process, and the maps from the settings."""

    env: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    interpreters: Mapping[str, str] = field(default_factory=dict)


def process_spec(revision: Object, lookup: Lookup, host: HostEnvironment, *, port: int, model: str = "") -> ProcessSpec:
    """The process of a revision's first container on `port`; `model` is the folder that /mnt/models stands for.

    ProcessSpecError if there is no command, or a required ConfigMap, Secret or key is missing.
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
    declared = _environment(container, lookup, own, notes)

    def localize(text: str) -> str:
        text = text.replace(MODEL_DIR, model) if model else text
        return to_local_url(_loopback(text), host.addresses)

    declared = {name: localize(value) for name, value in declared.items()}
    command = [*(container.get("command") or ()), *(container.get("args") or ())]
    if not container.get("command"):
        raise ProcessSpecError(
            f"revision {metadata['name']}: its container has no command, and images are not run here"
        )
    argv = [localize(_expanded(text, {**declared, **own})) for text in command]
    if _PYTHON.fullmatch(argv[0]):
        argv[0] = _interpreter(container.get("image") or "", host.interpreters)
    notes += [f"{name} is not enforced" for name in ("resources", "securityContext") if container.get(name)]
    return ProcessSpec(
        tuple(argv),
        {**host.env, **declared, **own},
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
            notes.append(f"env {item['name']}: {', '.join(origin)} only exists in pods and is left out")
            continue
        kind = "ConfigMap" if origin.get("configMapKeyRef") else "Secret"
        data = _data(kind, reference, lookup)
        if reference["key"] in data:
            env[item["name"]] = data[reference["key"]]
        elif not reference.get("optional"):
            raise ProcessSpecError(
                f"env {item['name']}: couldn't find key {reference['key']} in {kind} {reference['name']}"
            )
    return env


def _data(kind: str, reference: Mapping[str, Any], lookup: Lookup) -> dict[str, str]:
    resource = lookup(kind, reference["name"])
    if resource is None:
        if reference.get("optional"):
            return {}
        raise ProcessSpecError(f"{kind.lower()} {reference['name']!r} not found; create it in the revision's namespace")
    data: dict[str, str] = resource.get("data") or {}
    if kind == "ConfigMap":
        return dict(data)
    return {name: base64.b64decode(value).decode("utf-8", "replace") for name, value in data.items()}


def _expanded(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` as Kubernetes expands it: unknown names stay, `$$` is a dollar sign."""

    def expand(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return env.get(match[1], match[0])

    return _REFERENCE.sub(expand, text)


def _loopback(text: str) -> str:
    """Replaces 0.0.0.0, because nothing here listens beyond this host."""
    return "127.0.0.1" if text == "0.0.0.0" else re.sub(r"^(--?[\w-]+=)0\.0\.0\.0$", r"\g<1>127.0.0.1", text)


def _interpreter(image: str, interpreters: Mapping[str, str]) -> str:
    known = [prefix for prefix in interpreters if image.startswith(prefix)]
    return interpreters[max(known, key=len)] if known else sys.executable


def _probe(declared: Mapping[str, Any] | None, notes: list[str]) -> Probe:
    if not declared:
        return Probe()
    initial, timeout = float(declared.get("initialDelaySeconds") or 0), float(declared.get("timeoutSeconds") or 1)
    if get := declared.get("httpGet"):
        headers = tuple((item["name"], item["value"]) for item in get.get("httpHeaders") or ())
        return Probe(get.get("path") or "/", headers, initial, timeout)
    if not declared.get("tcpSocket"):
        notes.append("readinessProbe: only httpGet and tcpSocket are supported; the port is probed")
    return Probe(initial=initial, timeout=timeout)

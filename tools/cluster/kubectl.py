"""kubectl with the current context: the one client that the cluster tools use.

kubectl and not a Python client, because whoever operates a cluster has it set up already: contexts, credential plugins,
proxies. KUBECTL may be several words, such as `minikube kubectl --`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from tools import process
from tools.console import Console
from tools.errors import CommandFailedError, ToolError
from tools.process import Completed

INSTALL = "https://kubernetes.io/docs/tasks/tools"
APPLY_ATTEMPTS = 6
RETRY_SECONDS = 10.0
FORWARD_SECONDS = 30.0
LOCAL_ADDRESS = "127.0.0.1"
Object = dict[str, Any]


class ResourceType(NamedTuple):
    """A kind as an object names it."""

    api_version: str
    kind: str

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    def __str__(self) -> str:
        """As kubectl's commands take it: Kind.version.group."""
        group, _, version = self.api_version.rpartition("/")
        return f"{self.kind}.{version}.{group}"


def resource_type(item: Mapping[str, Any]) -> ResourceType:
    return ResourceType(item["apiVersion"], item["kind"])


class Kubectl:
    """kubectl's commands, as lists of arguments."""

    def __init__(self, command: Sequence[str] = ("kubectl",)) -> None:
        self.command = tuple(command)

    @property
    def program(self) -> str:
        return self.command[0]

    def words(self, *arguments: str) -> list[str]:
        return [*self.command, *arguments]

    def __str__(self) -> str:
        return " ".join(self.command)

    def run(self, *arguments: str, text: str | None = None, quiet: bool = True) -> None:
        process.run(self.words(*arguments), text=text, quiet=quiet)

    def output(self, *arguments: str, text: str | None = None) -> str:
        return process.output(self.words(*arguments), text=text)

    def attempt(self, *arguments: str, text: str | None = None, show_errors: bool = False) -> Completed:
        return process.attempt(self.words(*arguments), text=text, show_errors=show_errors)

    def succeeds(self, *arguments: str) -> bool:
        return self.attempt(*arguments).returncode == 0

    def find(self, *arguments: str) -> Object | None:
        """The object that `kubectl get ARGUMENTS` prints; None where there is none, or the kind is unknown."""
        completed = self.attempt("get", *arguments, "--output", "json")
        if completed.returncode or not completed.stdout.strip():
            return None
        item: Object = json.loads(completed.stdout)
        return item

    def check_reachable(self) -> None:
        completed = self.attempt("get", "namespace", "default", "--output", "name")
        if completed.returncode:
            reason = process.last_line(completed.stderr)
            raise ToolError(f"the cluster of the current context does not answer: {reason}")

    def serves(self, kind: ResourceType) -> bool:
        """Whether the cluster's API knows the kind, by its discovery documents."""
        if kind.group:
            groups = json.loads(self.output("get", "--raw", "/apis"))["groups"]
            versions = {version["groupVersion"] for group in groups for version in group["versions"]}
            if kind.api_version not in versions:
                return False
        path = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.api_version}"
        resources = json.loads(self.output("get", "--raw", path))["resources"]
        return any(resource["kind"] == kind.kind for resource in resources)


def apply_server_side(kubectl: Kubectl, console: Console, *files: str) -> None:
    """Applies URLs or files.

    Server-side, because KServe's CRDs are too large for an annotation; several attempts, because a webhook that has
    just been installed may not answer yet.
    """
    for file in files:
        words = ("apply", "--server-side", "--force-conflicts", "--filename", file)
        if console.dry_run:
            console.show(kubectl.words(*words))
            continue
        for attempt in range(1, APPLY_ATTEMPTS + 1):
            try:
                kubectl.run(*words)
                break
            except CommandFailedError:
                if attempt == APPLY_ATTEMPTS:
                    raise ToolError(f"{file} could not be applied; the lines above say why") from None
            console.say(f"again in {RETRY_SECONDS:.0f} s: {file} ({attempt} of {APPLY_ATTEMPTS})")
            time.sleep(RETRY_SECONDS)


def wait_for_deployments(kubectl: Kubectl, console: Console, namespace: str, seconds: int) -> None:
    """Waits for every Deployment of a namespace, naming those that are not available."""
    if console.dry_run:
        timeout = ("--timeout", f"{seconds}s")
        words = ("wait", "--namespace", namespace, "--for=condition=Available", *timeout, "deployment", "--all")
        console.show(kubectl.words(*words))
        return
    end = time.monotonic() + seconds
    while missing := unavailable_deployments(kubectl.output(*_list_deployments(namespace))):
        names = " ".join(missing)
        if time.monotonic() >= end:
            command = f"{kubectl} get pods --namespace {namespace}"
            raise ToolError(f"{namespace}: not ready after {seconds} s: {names} ({command})")
        console.say(f"{namespace}: waits for {names}")
        time.sleep(RETRY_SECONDS)


def _list_deployments(namespace: str) -> tuple[str, ...]:
    return ("get", "deployments", "--namespace", namespace, "--output", "json")


def unavailable_deployments(listing: str) -> list[str]:
    """The names of those that should have pods and lack some; `listing` as JSON."""
    items: list[Object] = json.loads(listing)["items"] if listing.strip() else []
    return [
        item["metadata"]["name"]
        for item in items
        if (wanted := (item.get("spec") or {}).get("replicas", 1)) > 0
        and (item.get("status") or {}).get("availableReplicas", 0) != wanted
    ]


@contextmanager
def port_forward(kubectl: Kubectl, namespace: str, service: str, port: int) -> Iterator[int]:
    """A port of this machine that leads to the Service's, until the end of the block.

    Proxies of the environment are bypassed for 127.0.0.1.
    """
    words = kubectl.words("port-forward", "--namespace", namespace, f"service/{service}", f":{port}")
    with tempfile.TemporaryFile("w+") as log:
        forwarder = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            local_port = _forwarded_port(forwarder, log.fileno())
            if local_port is None:
                log.seek(0)
                reason = process.last_line(log.read())
                raise ToolError(f"kubectl port-forward to {service} in {namespace} did not start: {reason}")
            for name in ("no_proxy", "NO_PROXY"):
                os.environ[name] = ",".join(filter(None, (os.environ.get(name), LOCAL_ADDRESS)))
            yield local_port
        finally:
            forwarder.terminate()
            forwarder.wait()


def _forwarded_port(forwarder: subprocess.Popen[bytes], log: int) -> int | None:
    end = time.monotonic() + FORWARD_SECONDS
    while time.monotonic() < end:
        text = os.pread(log, 65536, 0).decode(errors="replace")
        if match := re.search(r"^Forwarding from 127\.0\.0\.1:(\d+) ", text, re.MULTILINE):
            return int(match.group(1))
        if forwarder.poll() is not None:
            return None
        time.sleep(0.2)
    return None

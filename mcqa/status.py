"""`mcqa status`: is everything well, in one look."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from common import links
from common.names import NAMESPACE
from local.platform.settings import HOST, STATUS_PATH, Folder
from mcqa import loop, terminal
from mcqa.errors import CommandError
from mcqa.loop import FolderOption
from mcqa.up import older, status_of

if TYPE_CHECKING:
    import httpx

TIMEOUT = 3.0


def status(
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
    directory: FolderOption = None,
) -> None:
    """Show the loop on this machine: processes, services and their traffic, versions, runs, events.

    Exit code 1 when it is not up or something is wrong.
    """
    folder = loop.require_running(loop.folder(directory))
    found = gather(folder)
    if as_json:
        terminal.json_line(found, indent=2)
    else:
        _print(found, folder)
    if found["problems"]:
        raise typer.Exit(1)


def gather(folder: Folder) -> dict[str, Any]:
    """Plain data; what could not be asked is in `problems`, one line each."""
    own = _own(folder)
    if own.get("ending"):
        raise CommandError(
            f"{loop.named(folder)} is ending, process {own.get('pid')}: what was accepted is finished first"
        )
    ports = folder.settings().ports
    problems: list[str] = []

    def ask(what: str, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except Exception as error:
            problems.append(f"{what}: {' '.join(str(error).split()) or type(error).__name__}"[:300])
            return None

    problems += [
        f"{p['name']}: {p['state']} {p['message']}".strip() for p in own.get("parts", ()) if p["state"] != "ready"
    ]
    problems += [f"{s['name']}: {s['detail'] or s['state']}" for s in own.get("steps", ()) if s["state"] != "done"]
    broker = ask("broker", lambda: _json(loop.broker(folder, TIMEOUT), "/-/figures"))
    services = ask("API", lambda: _services(folder)) or []
    problems += [f"{s['name']}: {s['message']}" for s in services if not s["ready"]]
    pipelines = ask("pipelines", lambda: _json(loop.pipelines(folder, TIMEOUT), "/apis/v2beta1/healthz")) or {}
    storage = _storage(own.get("storage", ()), (broker or {}).get("storage", ()), pipelines.get("storage", ()))
    problems += [f"{one['part']}: cannot write {one['path']} since {_clock(one['since'])}: {one['message']}; "
                 "goes on by itself when it can" for one in storage]  # fmt: skip
    for trigger in (broker or {}).get("triggers", ()):
        if stuck := trigger["dead"] + trigger["dead_lettering"]:
            problems.append(f"{trigger['trigger']}: {_dead(stuck)} at the broker, see `mcqa dead-letters list`")
    if kept := ask("dead letters", lambda: _dead_letters(folder)):
        problems.append(f"{_dead(kept)}, see `mcqa dead-letters list`")
    return {
        "up_for": own.get("up_for", max(time.time() - float(own.get("began", time.time())), 0.0)),
        "pid": own.get("pid"),
        "parts": own.get("parts", []),
        "services": _with_replicas(services, own),
        "aliases": ask("model registry", lambda: _aliases(folder)),
        "runs": ask("pipelines", lambda: _runs(loop.pipelines(folder, TIMEOUT))),
        "mlflow": f"http://{HOST}:{ports.mlflow}",
        "broker": broker,
        "storage": storage,
        "problems": problems,
        "older": older(folder),
    }


def _own(folder: Folder) -> dict[str, Any]:
    """What the supervisor says, by word of mouth where it answers: its file is old while the disk is full."""
    import base64
    import ssl

    import httpx
    import yaml

    try:
        config = yaml.safe_load(folder.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        headers = {"authorization": f"Bearer {user['token']}"}
        context = ssl.create_default_context(cadata=authority)
        answer = httpx.get(cluster["server"] + STATUS_PATH, headers=headers, verify=context, timeout=TIMEOUT)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found
    except (OSError, httpx.HTTPError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return status_of(folder)


def _storage(*told: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Who cannot write where: each part and path once, as it was told first."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in sorted((one for some in told for one in some), key=lambda one: one["since"]):
        found.setdefault((one["part"], one["path"]), one)
    return list(found.values())


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


def _services(folder: Folder) -> list[dict[str, Any]]:
    from lightkube import Client, KubeConfig
    from lightkube.generic_resource import create_namespaced_resource as resource

    client: Any = Client(KubeConfig.from_file(str(folder.kubeconfig)).get(), namespace=NAMESPACE)
    model = resource("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices")
    service = resource("serving.knative.dev", "v1", "Service", "services")
    found = []
    for kind, items in (("model", client.list(model)), ("function", client.list(service))):
        for item in items:
            if kind == "function" and (item.metadata.ownerReferences or ()):
                continue  # the InferenceService's own
            status: dict[str, Any] = item.status or {}
            part = (status.get("components") or {}).get("predictor", status)
            ready: dict[str, Any] = next((c for c in status.get("conditions") or () if c["type"] == "Ready"), {})
            found.append(
                {
                    "name": item.metadata.name,
                    "kind": kind,
                    "ready": ready.get("status") == "True",
                    "message": ready.get("message", "not ready yet"),
                    "traffic": [
                        {"revision": one.get("revisionName"), "percent": one.get("percent", 0), "tag": one.get("tag")}
                        for one in part.get("traffic") or ()
                    ],
                    "version": _version(item) if kind == "model" else None,
                }
            )
    return found


def _version(item: Any) -> str | None:
    uri = ((item.spec.get("predictor") or {}).get("model") or {}).get("storageUri")
    return str(uri) if uri else None


def _with_replicas(services: list[dict[str, Any]], own: dict[str, Any]) -> list[dict[str, Any]]:
    """Each revision's processes, beside the service that they are of."""
    for service in services:
        wanted = service["name"] + ("-predictor-" if service["kind"] == "model" else "-")
        service["revisions"] = [
            one for one in own.get("revisions", ()) if one["revision"].rpartition("-")[0] + "-" == wanted
        ]
    return services


def _aliases(folder: Folder) -> dict[str, str]:
    from common.mlflow.registry import ModelRegistry

    environ = loop.environ(folder.path)
    with ModelRegistry(environ, environ.get("MCQA_REGISTERED_MODEL", "coding-mcqa")) as registry:
        model = registry.model()
    return dict(model.aliases) if model else {}


def _runs(pipelines: httpx.Client) -> list[dict[str, Any]]:
    found = _json(pipelines, "/apis/v2beta1/runs?page_size=5&sort_by=created_at%20desc").get("runs") or []
    endpoint = {"KFP_ENDPOINT": str(pipelines.base_url).rstrip("/")}
    return [
        {name: run.get(name) for name in ("run_id", "display_name", "state", "created_at")}
        | {"page": links.pipeline_run(endpoint, run["run_id"])}
        for run in found
    ]


def _dead_letters(folder: Folder) -> int:
    from functions.database import connect, transaction
    from functions.dead_letters.store import count

    engine = connect(loop.environ(folder.path))
    try:
        with transaction(engine) as connection:
            return count(connection)
    finally:
        engine.dispose()


def _dead(count: int) -> str:
    return f"{count} dead letter{'s' if count > 1 else ''}"


def _json(client: httpx.Client, path: str) -> Any:
    with client:
        return client.get(path).raise_for_status().json()


def _print(found: dict[str, Any], folder: Folder) -> None:
    out = terminal.out
    out.print(f"[bold]{escape(loop.named(folder))}[/] is up for {_duration(found['up_for'])}, process {found['pid']}\n")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("", "state", "processes", "traffic"):
        table.add_column(name, overflow="fold")
    for part in found["parts"]:
        again = f", restarted {part['restarts']}×" if part["restarts"] else ""
        table.add_row(part["name"], _state(part["state"] == "ready", part["state"]), f"{part['pid']}{again}", "")
    for service in found["services"]:
        running = ", ".join(str(pid) for one in service["revisions"] for pid in one["pids"])
        traffic = " · ".join(
            f"{one['percent']} % {one['revision']}" for one in service["traffic"] if one["percent"]
        ) if service["kind"] == "model" else ""  # fmt: skip
        table.add_row(service["name"], _state(service["ready"], "ready"), running or "[dim]scaled to zero[/]", traffic)
    out.print(table)
    if found["aliases"] is not None:
        told = ", ".join(f"{name} {version}" for name, version in sorted(found["aliases"].items()))
        out.print(f"\n[bold]versions[/]  {told or 'none registered'}")
    for run in found["runs"] or ():
        out.print(f"[bold]run[/]       {run['display_name']} {run['state']} [dim]{run['created_at']}[/]")
    for run in (found["runs"] or ())[:1]:
        out.print(f"          [dim]{run['page']}[/]", soft_wrap=True)
    if broker := found["broker"]:
        delivered = sum(one["delivered"] for one in broker["triggers"])
        waiting = sum(one["depth"] for one in broker["triggers"])
        out.print(f"[bold]events[/]    {broker['events']} kept, {delivered} delivered, {waiting} waiting")
    if found["older"]:
        out.print(f"[yellow]![/] {escape(found['older'])}", soft_wrap=True)
    for problem in found["problems"]:
        out.print(f"[bold red]✗[/] {problem}", soft_wrap=True, markup=True)


def _state(good: bool, text: str) -> str:
    return f"[green]{text}[/]" if good else f"[red]{'not ready' if text == 'ready' else text}[/]"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else (f"{minutes} min {rest} s" if minutes else f"{rest} s")

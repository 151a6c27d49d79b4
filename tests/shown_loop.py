"""A loop with a history for tests of what every page shows: model, broker, registry and database, all real.

Nothing runs that would change it: no function, no supervisor.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loop_parts import sink
from registered_versions import Retraining, first_version, retrained
from servers import free_port
from small_loop import small_loop

from benchmarks.page_database import Amounts, fill
from common.event_types import INFERENCE_REQUEST
from mcqa import defaults, server_process
from pipelines.registration.tracking import Tracking

AMOUNTS = Amounts(answers=3_000, checks=60, decisions=24, runs=4, dead_letters=9, notices=5, days=3.0)
CHAMPION = 2
TRACE = "0af7651916cd43dd8448eb211c80319c"

PAGES = {
    "ask": "/",
    "loop": "/loop",
    "drift": "/drift?check=50",
    "rollout": "/rollout?decision=20",
    "versions": "/versions?version=2&against=1",
    "pipelines": "/pipelines",
    "events": f"/events?trace={TRACE}",
}
"""Each page by an address that shows much of it."""


@dataclass(frozen=True, slots=True)
class ShownLoop:
    """`environ` is what `python -m ui` gets."""

    environ: dict[str, str]


@contextlib.contextmanager
def shown_loop(folder: Path, mlflow_url: str, model: str) -> Iterator[ShownLoop]:
    with contextlib.ExitStack() as parts:
        port = free_port()
        parts.enter_context(server_process.running(str(defaults.TINY_MODEL), port, free_port()))
        loop = parts.enter_context(small_loop(folder / "loop", gateway=port))
        taking, refusing = parts.enter_context(sink()), parts.enter_context(sink())
        refusing.status = 422
        loop.apply("Trigger", "collect", {"broker": "default", "subscriber": {"uri": taking.url}})
        filters = [{"exact": {"type": "refused"}}]
        loop.apply("Trigger", "picky", {"broker": "default", "subscriber": {"uri": refusing.url}, "filters": filters})
        parent = f"00-{TRACE}-{'b' * 16}-01"
        loop.send(str(uuid.UUID(TRACE)), INFERENCE_REQUEST, {"instances": [{"question": "Q?"}]}, traceparent=parent)
        loop.send("2", "refused", {"half": "x"}, traceparent=parent)
        loop.settle()
        environ = {
            **loop.environ,
            "MLFLOW_TRACKING_URI": mlflow_url,
            "MCQA_REGISTERED_MODEL": model,
            "MCQA_UI_ACTIONS": "true",
        }
        first_version(mlflow_url, model)
        tracking = Tracking(environ, model)
        retrained(tracking, mlflow_url, f"{model} 2", Retraining("1", 0.8, 0.6, seed=5, size=200))
        retrained(tracking, mlflow_url, f"{model} 3", Retraining("2", 0.85, 0.8, seed=6, size=200))
        tracking.set_alias("champion", "2")
        tracking.set_alias("challenger", "3")
        tracking.set_tag("2", "rollout", "promoted over 1")
        fill(loop.folder.database, model, CHAMPION, AMOUNTS)
        _name(loop.folder.environment, environ)
        yield ShownLoop(environ)


def _name(file: Path, environ: dict[str, str]) -> None:
    """As the supervisor does: where the parts are, for the verbs and the read models."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **environ}))

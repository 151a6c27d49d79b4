"""The loop's requests for retraining runs: which run is whose, which attempt, and which have no run.

Read from the loop's database. A run is known by its id, or by the name `retrain-<the beginning of the key>`: the row
keeps the id of its newest run alone. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from common.environment import text
from common.names import MODEL

if TYPE_CHECKING:
    from sqlalchemy import Row

REQUESTS = 200
"""The newest requests, among which a run's is looked for."""
WITHOUT_RUN = 10
BEFORE_RUN = ("waiting", "starting")


class Request(TypedDict):
    """The loop's own record; `readmodels.versions.cause` has the drift check behind its `key`."""

    key: str
    state: str
    reason_code: str
    initiated_by: str
    reason: str
    attempt: int
    error: str
    created_at: float


class Requested(Request):
    """The request of one run, whose `attempt` it is. `replaced`: a later attempt took its place.

    `version` is what the run registered.
    """

    replaced: bool
    version: str | None


def read(environ: Mapping[str, str]) -> tuple[Sequence[Row[Any]], str]:
    """The newest requests; and why they cannot be read, "" where they can."""
    from functions.database import connect, transaction
    from functions.retrain.store import newest

    model = text(environ, "MCQA_REGISTERED_MODEL", MODEL)
    try:
        with transaction(connect(environ)) as connection:
            return newest(connection, model, REQUESTS), ""
    except Exception as error:  # noqa: BLE001 - the runs themselves are shown without the database, too
        return [], " ".join(str(error).split())[:300] or type(error).__name__


def of_runs(rows: Iterable[Any], runs: Iterable[Mapping[str, Any]]) -> dict[str, Requested]:
    """The request of each of the server's runs by the run's id; runs of others are left out."""
    from functions.retrain.store import run_name

    listed = list(runs)
    found: dict[str, Requested] = {}
    for row in rows:
        named = [run for run in listed if run.get("display_name") == run_name(row.key) or _id(run) == row.run_id]
        named.sort(key=lambda run: str(run.get("created_at") or ""))
        found |= {_id(run): each for run, each in zip(named, _attempts(row, named), strict=True)}
    return found


def without_run(rows: Iterable[Any]) -> list[Request]:
    """Requests that wait for a run, or ended without one; the newest first."""
    return [_request(row) for row in rows if row.state in BEFORE_RUN or row.run_id is None][:WITHOUT_RUN]


def _attempts(row: Any, runs: Sequence[Mapping[str, Any]]) -> list[Requested]:
    """Of the runs of one request, the oldest first. The oldest of all may be missing, the newest is not."""
    from functions.retrain.reasons import ReasonCode

    ids = [_id(run) for run in runs]
    # The next attempt is counted before there is a run of it; until then the row has the id of the one before.
    follows = bool(ids) and row.state == "starting" and ids[-1] == row.run_id
    refused = row.state == "failed" and row.reason_code == ReasonCode.RUN_REFUSED
    newest = row.attempt - (1 if follows or refused else 0)
    return [
        {
            **_request(row),
            "attempt": max(newest - (len(ids) - 1 - place), 1),
            "replaced": follows or place < len(ids) - 1,
            "version": row.version if run_id == row.run_id else None,
        }
        for place, run_id in enumerate(ids)
    ]


def _request(row: Any) -> Request:
    return {
        "key": row.key,
        "state": row.state,
        "reason_code": row.reason_code,
        "initiated_by": row.initiated_by,
        "reason": row.reason,
        "attempt": row.attempt,
        "error": row.error,
        "created_at": row.created_at,
    }


def _id(run: Mapping[str, Any]) -> str:
    return str(run.get("run_id") or "")

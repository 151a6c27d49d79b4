"""ML Metadata's MetadataStoreService as Kubeflow's UI reads it. Read-only, and nothing is stored for it: every answer
is made of the runs' views (metadata_entries.py says how).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from local.pipelines import metadata_entries as entries
from local.pipelines.database import Row
from local.pipelines.errors import invalid_argument, not_found
from local.pipelines.metadata_messages import message
from local.pipelines.run_view import RunView
from local.pipelines.runs import Runs
from local.pipelines.task_values import MAX_ARTIFACTS_OF_TASK

MAX_IDS = 10_000
MAX_RESULTS = 1000
"""Of a list without a page size, which the UI asks for where it groups by pipeline: the newest ones."""
_BATCH = 50

Handler = Callable[[Any], dict[str, Any]]


class MetadataStore:
    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._database = runs.database
        self._methods: dict[str, Handler] = {
            "GetContextByTypeAndName": self._context_by_name,
            "GetContextType": _context_type,
            "GetContextsByExecution": lambda request: {
                "contexts": [entries.context(view.row) for view in self._views_of_executions([request.execution_id])]
            },
            "GetExecutions": self._list_executions,
            "GetExecutionsByContext": lambda request: {
                "executions": entries.executions(self._view_of(request.context_id))
            },
            "GetExecutionsByID": lambda request: {"executions": self._executions(request.execution_ids)},
            "GetArtifacts": self._list_artifacts,
            "GetArtifactsByContext": lambda request: {
                "artifacts": entries.artifacts(self._view_of(request.context_id))
            },
            "GetArtifactsByID": lambda request: {"artifacts": self._artifacts(request.artifact_ids)},
            "GetEventsByExecutionIDs": self._events_of_executions,
            "GetEventsByArtifactIDs": self._events_of_artifacts,
            "GetArtifactTypes": lambda _: {"artifact_types": self._artifact_types()},
            "GetArtifactTypesByID": lambda request: {"artifact_types": _of(self._artifact_types(), request.type_ids)},
            "GetExecutionTypes": lambda _: {"execution_types": _execution_types()},
            "GetExecutionTypesByID": lambda request: {"execution_types": _of(_execution_types(), request.type_ids)},
        }

    def call(self, method: str, content: bytes) -> bytes | None:
        """The answer to a call, serialized; None for a method that is not here. KfpApiError, or DecodeError for a
        message that cannot be read.
        """
        handler = self._methods.get(method)
        if handler is None:
            return None
        request = message(f"{method}Request").FromString(content)
        response: bytes = message(f"{method}Response")(**handler(request)).SerializeToString()
        return response

    def _context_by_name(self, request: Any) -> dict[str, Any]:
        """The context of a run; an empty answer, as ML Metadata's, where there is none."""
        if request.type_name != entries.RUN_CONTEXT:
            return {}
        row = self._database.fetch_one("SELECT * FROM runs WHERE id = ? AND deleted = 0", request.context_name)
        return {"context": entries.context(row)} if row else {}

    def _list_executions(self, request: Any) -> dict[str, Any]:
        """The newest tasks; the token is the number of the last one that was given."""
        size, before = _page(request.options)
        rows = self._newest_tasks(before, size + 1)
        found = self._executions(row["seq"] * 2 for row in rows[:size])
        response: dict[str, Any] = {"executions": found[::-1]}
        return response | ({"next_page_token": str(rows[size - 1]["seq"])} if len(rows) > size else {})

    def _list_artifacts(self, request: Any) -> dict[str, Any]:
        """The newest artifacts; the token is the number of the last one that was given."""
        size, before = _page(request.options)
        found: list[Any] = []
        task = before // MAX_ARTIFACTS_OF_TASK + 1 if before else 0
        while len(found) <= size and (rows := self._newest_tasks(task, _BATCH, "AND outputs <> '{}'")):
            task = rows[-1]["seq"]
            numbers = {row["seq"] for row in rows}
            batch = [entry for view in self._views(rows) for entry in entries.artifacts(view)]
            batch = [entry for entry in batch if entry.id // MAX_ARTIFACTS_OF_TASK in numbers]
            found += sorted((entry for entry in batch if not before or entry.id < before), key=lambda one: -one.id)
        response: dict[str, Any] = {"artifacts": found[:size]}
        return response | ({"next_page_token": str(found[size - 1].id)} if len(found) > size else {})

    def _executions(self, ids: Iterable[int]) -> list[Any]:
        wanted = _checked(ids)
        found = [entry for view in self._views_of_executions(wanted) for entry in entries.executions(view)]
        return sorted(_of(found, wanted), key=lambda entry: int(entry.id))

    def _artifacts(self, ids: Iterable[int]) -> list[Any]:
        wanted = _checked(ids)
        found = [entry for view in self._views_of_artifacts(wanted) for entry in entries.artifacts(view)]
        return sorted(_of(found, wanted), key=lambda entry: int(entry.id))

    def _events_of_executions(self, request: Any) -> dict[str, Any]:
        wanted = _checked(request.execution_ids)
        found = (event for view in self._views_of_executions(wanted) for event in entries.events(view))
        return {"events": [event for event in found if event.execution_id in wanted]}

    def _events_of_artifacts(self, request: Any) -> dict[str, Any]:
        wanted = _checked(request.artifact_ids)
        found = (event for view in self._views_of_artifacts(wanted) for event in entries.events(view))
        return {"events": [event for event in found if event.artifact_id in wanted]}

    def _artifact_types(self) -> list[Any]:
        """The types that the SDK knows, and those that some task produced."""
        sql = "SELECT DISTINCT atom FROM tasks, json_tree(tasks.outputs) WHERE json_tree.key = 'schema_title'"
        seen = [row[0] for row in self._database.fetch_all(sql) if isinstance(row[0], str) and row[0]]
        names = dict.fromkeys((*entries.ARTIFACT_TYPES, *seen))
        return [message("ArtifactType")(id=entries.type_number("artifact", name), name=name) for name in names]

    def _view_of(self, number: int) -> RunView:
        row = self._database.fetch_one("SELECT * FROM runs WHERE seq = ? AND deleted = 0", number)
        if row is None:
            raise not_found("context", str(number))
        return self._runs.view(row)

    def _views_of_executions(self, ids: Iterable[int]) -> Iterator[RunView]:
        """The views of the runs that these executions belong to, each once."""
        wanted = list(ids)
        roots = [number // 2 for number in wanted if number % 2]
        return self._views(self._tasks(number // 2 for number in wanted if number % 2 == 0), roots)

    def _views_of_artifacts(self, ids: Iterable[int]) -> Iterator[RunView]:
        return self._views(self._tasks(number // MAX_ARTIFACTS_OF_TASK for number in ids))

    def _views(self, tasks: Iterable[Row], roots: Iterable[int] = ()) -> Iterator[RunView]:
        ids, numbers = list(dict.fromkeys(row["run_id"] for row in tasks)), list(roots)
        sql = f"""SELECT * FROM runs WHERE deleted = 0
            AND (id IN ({_marks(ids)}) OR seq IN ({_marks(numbers)})) ORDER BY seq"""
        for row in self._database.fetch_all(sql, *ids, *numbers):
            yield self._runs.view(row)

    def _tasks(self, numbers: Iterable[int]) -> list[Row]:
        wanted = list(dict.fromkeys(numbers))
        sql = f"SELECT seq, run_id FROM tasks WHERE seq IN ({_marks(wanted)})"
        return list(self._database.fetch_all(sql, *wanted))

    def _newest_tasks(self, before: int, size: int, condition: str = "") -> list[Row]:
        """Tasks that began, with a lower number than `before` (0: any), the newest first."""
        sql = f"""SELECT seq, run_id FROM tasks WHERE (? = 0 OR seq < ?) AND state <> 'PENDING' {condition}
            AND EXISTS (SELECT 1 FROM runs WHERE runs.id = tasks.run_id AND deleted = 0) ORDER BY seq DESC LIMIT ?"""
        return list(self._database.fetch_all(sql, before, before, size))


def _context_type(request: Any) -> dict[str, Any]:
    if request.type_name not in entries.CONTEXT_TYPES:
        raise not_found("context type", request.type_name)
    number = entries.type_number("context", request.type_name)
    return {"context_type": message("ContextType")(id=number, name=request.type_name)}


def _execution_types() -> list[Any]:
    return [
        message("ExecutionType")(id=entries.type_number("execution", name), name=name)
        for name in entries.EXECUTION_TYPES
    ]


def _of(found: Iterable[Any], ids: Iterable[int]) -> list[Any]:
    wanted = set(ids)
    return [entry for entry in found if entry.id in wanted]


def _checked(ids: Iterable[int]) -> set[int]:
    wanted = set(ids)
    if len(wanted) > MAX_IDS or any(not 0 <= number < 2**53 for number in wanted):
        raise invalid_argument(f"give at most {MAX_IDS} ids, each from 0 on")
    return wanted


def _page(options: Any) -> tuple[int, int]:
    """How many results, and before which number (0: from the newest on)."""
    token = options.next_page_token
    if token and not (token.isascii() and token.isdigit() and len(token) < 16):
        raise invalid_argument("next_page_token is not one of this list")
    return min(options.max_result_size or MAX_RESULTS, MAX_RESULTS), int(token or 0)


def _marks(values: list[Any]) -> str:
    return ", ".join("?" * len(values))

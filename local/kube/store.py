"""The cluster's state as controllers and the HTTP API see it: every rule of a write, over one SQLite file.

    store = Store(folder / "kube.sqlite")
    for item in store.list("InferenceService").items: ...
    for change in store.watch("Trigger"): ...
    store.update_status({**item, "status": {...}})

Kinds are named as in the manifests; where two groups share one, `Service` is core's and `Service.serving.knative.dev`
Knative's. A store may be used from several threads, and its file from several processes.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from local.kube import errors, selectors
from local.kube.database import PAGE, Change, ObjectDatabase
from local.kube.errors import StatusError
from local.kube.patches import json_patch, merge_patch, strategic_merge
from local.kube.resources import NAMESPACE, Object, Resource, by_kind
from local.kube.writer import WriteOptions, Writer, resource_of, stored_namespace
from local.storage import StorageFailure

__all__ = ["Change", "PatchType", "ResourceList", "ResourceStore", "StatusError", "WriteOptions"]

PatchType = Literal["json", "merge", "strategic", "apply"]
KEPT_CHANGES = 10_000
POLL_SECONDS = 0.25
NAMESPACE_SECONDS = 2.0
_PERMANENT_NAMESPACES = ("default", "kube-system")


@dataclass(frozen=True, slots=True)
class ResourceList:
    """A list's page. A watch from `version` sees everything later; `continue_token` asks for the next page."""

    items: Sequence[Object]
    version: int
    continue_token: str = ""
    remaining: int = 0


class ResourceStore:
    """Objects by kind, namespace and name. Raises StatusError, whose `code` and `reason` are Kubernetes'."""

    def __init__(self, path: Path, *, keep: int = KEPT_CHANGES) -> None:
        self._db = ObjectDatabase(path, keep)
        self._writer = Writer(self._db)
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []
        for name in _PERMANENT_NAMESPACES:
            if self._db.get(NAMESPACE, "", name) is None:
                self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def close(self) -> None:
        self._db.close()

    @property
    def trouble(self) -> StorageFailure | None:
        """What prevents writing at the moment; `check` finds out whether that is over."""
        return self._db.storage_failure

    def check(self) -> None:
        self._db.check()

    @property
    def version(self) -> int:
        """The resourceVersion of the newest change."""
        return self._db.version()

    def get(self, kind: str | Resource, name: str, namespace: str = "default") -> Object:
        """The object; StatusError 404 when there is none."""
        item = self.find(kind, name, namespace)
        if item is None:
            raise errors.not_found(_resource(kind), name)
        return item

    def find(self, kind: str | Resource, name: str, namespace: str = "default") -> Object | None:
        """The object, or None."""
        resource = _resource(kind)
        return self._db.get(resource, stored_namespace(resource, namespace), name)

    def list(
        self,
        kind: str | Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> ResourceList:
        """Objects of one namespace, or of all for None, by (namespace, name); at most `limit` of them, 0 for all."""
        resource = _resource(kind)
        accepts = selectors.object_selector(labels, fields, resource.kind)
        with self._db.reading():
            version, after = self._db.version(), ("", "")
            if continue_token:
                version, after = _parse_continue_token(continue_token)
                self._db.changes(resource, namespace, version, 0)  # 410 when a watch could not start there
            items = [item for item in self._db.list(resource, namespace, after) if accepts is None or accepts(item)]
        page = items[:limit] if limit else items
        if len(page) == len(items):
            return ResourceList(page, version)
        last = page[-1]["metadata"]
        token = json.dumps([version, last.get("namespace", ""), last["name"]]).encode()
        return ResourceList(page, version, base64.urlsafe_b64encode(token).decode(), len(items) - len(page))

    def create(self, body: Object, namespace: str = "", options: WriteOptions | None = None) -> Object:
        """The object made of a body; StatusError 409 when its name is taken."""
        options = options or WriteOptions()
        resource = resource_of(body)
        namespace = namespace or (body.get("metadata") or {}).get("namespace") or "default"
        with self._writing(options):
            return self._writer.create(resource, body, namespace, options)

    def update(self, body: Object, options: WriteOptions | None = None, *, subresource: str = "") -> Object:
        """Replaces an object; StatusError 409 unless its resourceVersion is the current one."""
        options, resource, metadata = options or WriteOptions(), resource_of(body), body["metadata"]
        with self._writing(options):
            old = self.get(resource, metadata["name"], metadata.get("namespace", "default"))
            if not metadata.get("resourceVersion") and resource.custom:
                why = "Invalid value: 0x0: must be specified for an update"
                raise errors.invalid(resource, metadata["name"], [("metadata.resourceVersion", why)])
            return self._writer.replace(resource, old, body, options, subresource)

    def update_status(self, body: Object, options: WriteOptions | None = None) -> Object:
        """Replaces an object's status only; StatusError 409 when `body` is stale."""
        return self.update(body, options, subresource="status")

    def patch(
        self,
        kind: str | Resource,
        name: str,
        patch: Any,
        namespace: str = "default",
        *,
        type: PatchType = "merge",
        options: WriteOptions | None = None,
        subresource: str = "",
    ) -> tuple[Object, bool]:
        """The object after the patch, and whether server-side apply created it."""
        options, resource = options or WriteOptions(), _resource(kind)
        with self._writing(options):
            old = self.find(resource, name, namespace)
            if type == "apply":
                return self._writer.apply(resource, name, namespace, old, patch, options, subresource)
            if old is None:
                raise errors.not_found(resource, name)
            how = {"json": json_patch, "merge": merge_patch, "strategic": strategic_merge}[type]
            result = how(old, patch)
            if not isinstance(result, dict) or not isinstance(result.get("metadata"), dict):
                raise errors.bad_request("the patch leaves no object with metadata")
            return self._writer.replace(resource, old, result, options, subresource), False

    def delete(
        self,
        kind: str | Resource,
        name: str,
        namespace: str = "default",
        *,
        uid: str = "",
        version: str = "",
        orphan: bool = False,
        options: WriteOptions | None = None,
    ) -> Object:
        """Deletes an object, and what it owns unless `orphan`; returns its last state.

        One with finalizers is only marked with deletionTimestamp and disappears with the last of them. `uid` and
        `version` are preconditions (409). A Namespace goes NAMESPACE_SECONDS later (`finalize_namespaces`), so that
        what is in it can be deleted by name in the same command.
        """
        resource = _resource(kind)
        options = options or WriteOptions()
        with self._writing(options):
            item = self.get(resource, name, namespace)
            metadata = item["metadata"]
            if uid and uid != metadata["uid"]:
                why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
                raise errors.conflict(resource, name, why)
            if version and version != metadata["resourceVersion"]:
                raise errors.conflict(resource, name, "Precondition failed: resourceVersion differs")
            if resource == NAMESPACE and name in _PERMANENT_NAMESPACES:
                raise errors.forbidden(resource, name, "this namespace may not be deleted")
            return self._writer.delete(resource, item, options, orphan=orphan)

    def finalize_namespaces(self) -> None:
        """Removes the namespaces whose deletion was asked for long enough ago, with all that is in them."""
        for item in self.list(NAMESPACE).items:
            deleted_at = item["metadata"].get("deletionTimestamp")
            if deleted_at and datetime.now(UTC) - datetime.fromisoformat(deleted_at) > timedelta(
                seconds=NAMESPACE_SECONDS
            ):
                with self._writing(WriteOptions()):
                    self._writer.remove(NAMESPACE, item, WriteOptions(), orphan=False)

    def watch(
        self,
        kind: str | Resource,
        namespace: str | None = None,
        *,
        since: int | None = None,
        labels: str = "",
        fields: str = "",
        timeout: float | None = None,
    ) -> Iterator[Change]:
        """Changes as they happen, for `timeout` seconds; blocks in between.

        Without `since` the existing objects come first, as ADDED. StatusError 410 when `since` is too long ago.
        """
        resource = _resource(kind)
        accepts = selectors.object_selector(labels, fields, resource.kind)
        if since is None:
            listing = self.list(resource, namespace, labels=labels, fields=fields)
            since = listing.version
            for item in listing.items:
                yield Change(int(item["metadata"]["resourceVersion"]), "ADDED", item, None)
        deadline = None if timeout is None else time.monotonic() + timeout
        while deadline is None or time.monotonic() < deadline:
            since, changes = self.changes(resource, namespace, since, accepts)
            yield from changes
            with self._changed:
                if self._db.version() == since:
                    self._changed.wait(POLL_SECONDS)

    def changes(
        self, resource: Resource, namespace: str | None, since: int, accepts: selectors.Predicate | None = None
    ) -> tuple[int, Sequence[Change]]:
        """The version reached and the changes up to there, as a selector sees them: entering is ADDED, leaving DELETED.

        StatusError 410 when `since` is too long ago, or belongs to an earlier store.
        """
        with self._db.reading():
            reached = self._db.version()
            if reached == since:
                return since, []
            if since > reached:  # the version of a store that is gone: its holder must list again
                raise errors.expired(since, reached)
            changes = self._db.changes(resource, namespace, since)
        if len(changes) == PAGE:
            reached = changes[-1].version
        if accepts is None:
            return reached, changes
        return reached, [seen for change in changes if (seen := _as_selected(change, accepts))]

    def on_write(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener` after each write of this process, on the writer's thread; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    @contextmanager
    def _writing(self, options: WriteOptions) -> Iterator[None]:
        """A write transaction; listeners are notified once it is committed."""
        with self._db.writing(commit=not options.dry_run):
            yield
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
        for listener in tuple(self._listeners):
            listener()


def _resource(kind: str | Resource) -> Resource:
    return kind if isinstance(kind, Resource) else by_kind(kind)


def _as_selected(change: Change, accepts: selectors.Predicate) -> Change | None:
    was = change.before is not None and accepts(change.before)
    now = change.type != "DELETED" and accepts(change.object)
    if now:
        return Change(change.version, "MODIFIED" if was else "ADDED", change.object, change.before)
    return Change(change.version, "DELETED", change.object, change.before) if was else None


def _parse_continue_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
        return int(version), (str(namespace), str(name))
    except (ValueError, TypeError):
        raise errors.bad_request("continue key is not valid") from None

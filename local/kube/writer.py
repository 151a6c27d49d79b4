"""The rules of a write, within a transaction: what is refused, what the API sets, what is deleted along with it.

Order as on a cluster: decoding (unknown fields, types), identity and generation, field ownership, required fields,
admission, storage.
"""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from local.kube import admission, errors, managed_fields, schema_validation, strategy
from local.kube.database import ObjectDatabase
from local.kube.resources import NAMESPACE, Object, Resource, by_kind
from local.kube.schemas import SCHEMAS

FieldValidation = Literal["Strict", "Warn", "Ignore"]
DEFAULT_MANAGER = "embedded-platform"


@dataclass(slots=True)
class WriteOptions:
    """How a change is made: by whom, for real or as a dry run, and what happens to unknown fields.

    `field_validation` Strict refuses them, Warn prunes them and adds to `warnings`, Ignore only prunes them. `force`
    lets server-side apply take fields from other managers.
    """

    manager: str = DEFAULT_MANAGER
    dry_run: bool = False
    field_validation: FieldValidation = "Strict"
    force: bool = False
    warnings: list[str] = field(default_factory=list)


class Writer:
    """Writes to one database, whose write transaction the caller holds. Raises StatusError."""

    def __init__(self, db: ObjectDatabase) -> None:
        self._db = db

    def create(self, resource: Resource, body: Object, namespace: str, options: WriteOptions) -> Object:
        body = _decode(resource, body, options)
        item = strategy.prepare_for_create(resource, body, namespace, str(uuid.uuid4()), _now())
        name = item["metadata"]["name"]
        self._require_namespace(resource, namespace, name)
        if self._db.get(resource, stored_namespace(resource, namespace), name):
            raise errors.already_exists(resource, name)
        item = managed_fields.update(None, item, managed_fields.FieldManager(options.manager), _now())
        return self._store_if_changed(resource, item, None, options)

    def _require_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        if not resource.namespaced:
            return
        stored = self._db.get(NAMESPACE, "", namespace)
        if stored is None:
            raise errors.not_found(NAMESPACE, namespace)
        if stored["metadata"].get("deletionTimestamp"):
            raise errors.forbidden(resource, name, f"namespace {namespace} is being terminated")

    def replace(self, resource: Resource, old: Object, body: Object, options: WriteOptions, subresource: str) -> Object:
        _require_current(resource, old, body)
        item = strategy.prepare_for_update(resource, old, _decode(resource, body, options), subresource)
        # kubectl rewrites managedFields itself when it moves an object from client-side to server-side apply.
        owned = body["metadata"].get("managedFields", old["metadata"].get("managedFields"))
        before = {**old, "metadata": {**old["metadata"], "managedFields": owned}}
        item = managed_fields.update(
            before, item, managed_fields.FieldManager(options.manager, "Update", subresource), _now()
        )
        return self._store_if_changed(resource, item, old, options)

    def apply(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        old: Object | None,
        patch: Any,
        options: WriteOptions,
        subresource: str,
    ) -> tuple[Object, bool]:
        """Server-side apply: the object, and whether it was created."""
        config = _apply_config(resource, name, namespace, patch)
        if not options.manager:
            raise errors.bad_request("fieldManager is required for apply patch")
        manager = managed_fields.FieldManager(options.manager, "Apply", subresource)
        if old is None:
            return self._apply_new(resource, name, namespace, config, manager, options), True
        return self._apply_over(resource, old, config, manager, options), False

    def _apply_new(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        config: Object,
        manager: managed_fields.FieldManager,
        options: WriteOptions,
    ) -> Object:
        config["metadata"].pop("uid", None)
        self._require_namespace(resource, namespace, name)
        config = _decode(resource, config, options)
        item = strategy.prepare_for_create(resource, config, namespace, str(uuid.uuid4()), _now())
        # What the API fills in has no owner: applying the same again must not remove it.
        stated = {**config, "apiVersion": item["apiVersion"]}
        owned = managed_fields.apply(None, stated, manager, _now(), force=options.force)
        return self._store_if_changed(resource, _with_managed_fields(item, owned), None, options)

    def _apply_over(
        self,
        resource: Resource,
        old: Object,
        config: Object,
        manager: managed_fields.FieldManager,
        options: WriteOptions,
    ) -> Object:
        config = _decode(resource, config, options)
        if not manager.subresource and resource.has_status:
            config.pop("status", None)
        _require_current(resource, old, config)
        result = managed_fields.apply(old, config, manager, _now(), force=options.force)
        item = strategy.prepare_for_update(resource, old, result, manager.subresource)
        return self._store_if_changed(resource, _with_managed_fields(item, result), old, options)

    def _store_if_changed(self, resource: Resource, item: Object, old: Object | None, options: WriteOptions) -> Object:
        """Stores what may be stored; writing what is there already changes nothing."""
        schema = SCHEMAS[resource.group, resource.kind]
        if wrong := schema_validation.type_errors(item, schema):
            raise errors.invalid(resource, item["metadata"]["name"], wrong)
        item["metadata"].pop("resourceVersion", None)
        if old is not None:
            before = {**old, "metadata": {k: v for k, v in old["metadata"].items() if k != "resourceVersion"}}
            if before == item:
                return old
            if item.get("spec") == old.get("spec") and item.get("status") != old.get("status"):
                return self._store(resource, item, old, options)
        admission.validate(resource, item, old)
        if old and item["metadata"].get("deletionTimestamp") and not item["metadata"].get("finalizers"):
            return self.remove(resource, item, options, orphan=False)
        return self._store(resource, item, old, options)

    def _store(self, resource: Resource, item: Object, old: Object | None, options: WriteOptions) -> Object:
        if options.dry_run:  # shown with the version it has, so that `kubectl diff` shows the change only
            if old:
                item["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            return item
        item["metadata"]["resourceVersion"] = str(self._db.next_version())
        self._db.put(resource, item, old)
        return item

    def delete(self, resource: Resource, item: Object, options: WriteOptions, *, orphan: bool) -> Object:
        """Removes an object, or marks it while it has finalizers; what it owns goes along unless `orphan`."""
        if not item["metadata"].get("finalizers") and resource != NAMESPACE:
            return self.remove(resource, item, options, orphan=orphan)
        if item["metadata"].get("deletionTimestamp"):
            return item
        marked = copy.deepcopy(item)
        marked["metadata"] |= {"deletionTimestamp": _now(), "deletionGracePeriodSeconds": 0}
        if resource == NAMESPACE:
            marked["status"] = {"phase": "Terminating"}
        return self._store(resource, marked, item, options)

    def remove(self, resource: Resource, item: Object, options: WriteOptions, *, orphan: bool) -> Object:
        """Removes an object whatever its finalizers."""
        gone = copy.deepcopy(item)
        gone["metadata"]["resourceVersion"] = str(self._db.next_version())
        self._db.remove(resource, gone, item)
        owned = [] if orphan else [*self._db.dependents(item["metadata"]["uid"])]
        if resource == NAMESPACE:
            owned += self._db.in_namespace(item["metadata"]["name"])
        for dependent in owned:
            kind, metadata = resource_of(dependent), dependent["metadata"]
            current = self._db.get(kind, metadata.get("namespace", ""), metadata["name"])
            if current:
                self.delete(kind, current, options, orphan=orphan)
        return gone


def _apply_config(resource: Resource, name: str, namespace: str, patch: Any) -> Object:
    """The configuration to apply, of which name and namespace are those on the URL."""
    config = {**strategy.require_type(resource, patch)}
    metadata = config["metadata"] = {"name": name, **(config.get("metadata") or {})}
    if not resource.namespaced:
        metadata.pop("namespace", None)
    for field_name, expected in (("name", name), ("namespace", stored_namespace(resource, namespace))):
        if (value := metadata.get(field_name, expected)) != expected:
            raise errors.bad_request(f"the {field_name} of the object ({value}) is not that on the URL ({expected})")
    return config


def _require_current(resource: Resource, old: Object, body: Object) -> None:
    """409 for a body that states another resourceVersion than the stored one."""
    stated = body["metadata"].get("resourceVersion")
    if stated and stated != old["metadata"]["resourceVersion"]:
        raise errors.conflict(resource, old["metadata"]["name"])


def _with_managed_fields(item: Object, source: Object) -> Object:
    """`item` with the managedFields of `source`, which may have none."""
    item["metadata"].pop("managedFields", None)
    if "managedFields" in source["metadata"]:
        item["metadata"]["managedFields"] = source["metadata"]["managedFields"]
    return item


def _decode(resource: Resource, body: Object, options: WriteOptions) -> Object:
    """The body without nulls and unknown fields; StatusError 400 for the latter when validation is strict."""
    body = strategy.drop_nulls(strategy.require_type(resource, body))
    schema = SCHEMAS[resource.group, resource.kind]
    unknown = schema_validation.prune(body, schema)
    if unknown and options.field_validation == "Strict":
        listed = ", ".join(f'unknown field "{path}"' for path in unknown)
        raise errors.bad_request(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
            f"strict decoding error: {listed}"
        )
    if options.field_validation == "Warn":
        options.warnings += [f'unknown field "{path}"' for path in unknown]
    if wrong := schema_validation.type_errors(body, schema, complete=False):
        raise errors.invalid(resource, str((body.get("metadata") or {}).get("name", "")), wrong)
    return body


def resource_of(body: Object) -> Resource:
    """The resource that an object says it is; KeyError when it is not served here."""
    group, slash, _ = str(body.get("apiVersion", "")).partition("/")
    return by_kind(f"{body.get('kind', '')}.{group}" if slash else str(body.get("kind", "")))


def stored_namespace(resource: Resource, namespace: str) -> str:
    """The namespace that an object is stored under."""
    return namespace if resource.namespaced else ""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

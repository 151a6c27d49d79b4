"""The messages of ML Metadata's MetadataStoreService that Kubeflow's UI sends and reads, built from a table.

By hand, because nothing that can be installed has them: `ml-metadata` on PyPI (1.17.1, the last one) needs protobuf
below 5, and kfp 2.17 needs 6. The numbers are those of `ml_metadata/proto/metadata_store.proto` and
`metadata_store_service.proto`, of which only the fields that are used here are declared; others are skipped in a
request, as protocol buffers do with unknown fields. The pool is our own, so that the real package can be loaded beside.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

PACKAGE = "ml_metadata"
SERVICE = f"{PACKAGE}.MetadataStoreService"

_SCALARS = {"int64": 3, "int32": 5, "double": 1, "string": 9, "bool": 8, "enum": 5}
_STRUCT = "google.protobuf.Struct"

Fields = dict[str, tuple[int, str]]
"""Number and type of each field: a scalar, another message, `[…]` for a repeated one, `{…}` for a map by string. An
enum is an int32, which is the same on the wire.
"""

_RESOURCE: Fields = {
    "id": (1, "int64"), "type_id": (2, "int64"), "properties": (4, "{Value}"), "custom_properties": (5, "{Value}"),
}  # fmt: skip
_NAMED: Fields = {"id": (1, "int64"), "name": (2, "string")}
_OPTIONS: Fields = {"options": (1, "ListOperationOptions")}
_BY_CONTEXT: Fields = {"context_id": (1, "int64"), "options": (2, "ListOperationOptions")}
_PAGE: Fields = {"next_page_token": (2, "string")}

MESSAGES: dict[str, Fields] = {
    "Value": {
        "int_value": (1, "int64"), "double_value": (2, "double"), "string_value": (3, "string"),
        "struct_value": (4, _STRUCT), "bool_value": (6, "bool"),
    },
    "Artifact": {
        **_RESOURCE, "uri": (3, "string"), "state": (6, "enum"), "name": (7, "string"), "type": (8, "string"),
        "create_time_since_epoch": (9, "int64"), "last_update_time_since_epoch": (10, "int64"),
    },
    "Execution": {
        **_RESOURCE, "last_known_state": (3, "enum"), "name": (6, "string"), "type": (7, "string"),
        "create_time_since_epoch": (8, "int64"), "last_update_time_since_epoch": (9, "int64"),
    },
    "Context": {
        **_RESOURCE, "name": (3, "string"), "type": (6, "string"), "create_time_since_epoch": (7, "int64"),
        "last_update_time_since_epoch": (8, "int64"),
    },
    "ArtifactType": _NAMED, "ExecutionType": _NAMED, "ContextType": _NAMED,
    "Step": {"index": (1, "int64"), "key": (2, "string")},
    "Path": {"steps": (1, "[Step]")},
    "Event": {
        "artifact_id": (1, "int64"), "execution_id": (2, "int64"), "path": (3, "Path"), "type": (4, "enum"),
        "milliseconds_since_epoch": (5, "int64"),
    },
    "ListOperationOptions": {"max_result_size": (1, "int32"), "next_page_token": (3, "string")},
    "GetContextByTypeAndNameRequest": {"type_name": (1, "string"), "context_name": (2, "string")},
    "GetContextByTypeAndNameResponse": {"context": (1, "Context")},
    "GetContextTypeRequest": {"type_name": (1, "string")},
    "GetContextTypeResponse": {"context_type": (1, "ContextType")},
    "GetContextsByExecutionRequest": {"execution_id": (1, "int64")},
    "GetContextsByExecutionResponse": {"contexts": (1, "[Context]")},
    "GetExecutionsRequest": _OPTIONS,
    "GetExecutionsResponse": {"executions": (1, "[Execution]"), **_PAGE},
    "GetExecutionsByContextRequest": _BY_CONTEXT,
    "GetExecutionsByContextResponse": {"executions": (1, "[Execution]"), **_PAGE},
    "GetExecutionsByIDRequest": {"execution_ids": (1, "[int64]")},
    "GetExecutionsByIDResponse": {"executions": (1, "[Execution]")},
    "GetArtifactsRequest": _OPTIONS,
    "GetArtifactsResponse": {"artifacts": (1, "[Artifact]"), **_PAGE},
    "GetArtifactsByContextRequest": _BY_CONTEXT,
    "GetArtifactsByContextResponse": {"artifacts": (1, "[Artifact]"), **_PAGE},
    "GetArtifactsByIDRequest": {"artifact_ids": (1, "[int64]")},
    "GetArtifactsByIDResponse": {"artifacts": (1, "[Artifact]")},
    "GetEventsByExecutionIDsRequest": {"execution_ids": (1, "[int64]")},
    "GetEventsByExecutionIDsResponse": {"events": (1, "[Event]")},
    "GetEventsByArtifactIDsRequest": {"artifact_ids": (1, "[int64]")},
    "GetEventsByArtifactIDsResponse": {"events": (1, "[Event]")},
    "GetArtifactTypesRequest": {}, "GetArtifactTypesResponse": {"artifact_types": (1, "[ArtifactType]")},
    "GetArtifactTypesByIDRequest": {"type_ids": (1, "[int64]")},
    "GetArtifactTypesByIDResponse": {"artifact_types": (1, "[ArtifactType]")},
    "GetExecutionTypesRequest": {}, "GetExecutionTypesResponse": {"execution_types": (1, "[ExecutionType]")},
    "GetExecutionTypesByIDRequest": {"type_ids": (1, "[int64]")},
    "GetExecutionTypesByIDResponse": {"execution_types": (1, "[ExecutionType]")},
}  # fmt: skip
_ONE_OF = {"Value", "Step"}
"""Messages whose fields exclude each other."""


def message(name: str) -> Any:
    """The class of the message of this name; KeyError."""
    return _classes()[name]


@functools.cache
def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="ml_metadata_of_the_ui.proto",
        package=PACKAGE,
        syntax="proto2",
        dependency=["google/protobuf/struct.proto"],
    )
    for name, fields in MESSAGES.items():
        declared = file.message_type.add(name=name)
        if name in _ONE_OF:
            declared.oneof_decl.add(name="value")
        for field, (number, kind) in fields.items():
            _add_field(declared, field, number, kind)
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES}


def _add_field(declared: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str) -> None:
    kinds = descriptor_pb2.FieldDescriptorProto
    repeated = kind[0] in "[{"
    added = declared.field.add(
        name=name, number=number, label=kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
    )
    if kind.startswith("{"):
        entry = declared.nested_type.add(name="".join(word.title() for word in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", 1, "string")
        _add_field(entry, "value", 2, kind.strip("{}"))
        added.type, added.type_name = kinds.TYPE_MESSAGE, f".{PACKAGE}.{declared.name}.{entry.name}"
        return
    kind = kind.strip("[]")
    if kind in _SCALARS:
        added.type = _SCALARS[kind]
    else:
        added.type = kinds.TYPE_MESSAGE
        added.type_name = f".{kind}" if "." in kind else f".{PACKAGE}.{kind}"
    if declared.name in _ONE_OF:
        added.oneof_index = 0

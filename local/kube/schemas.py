"""The fields the embedded platform knows of each kind: a misspelt one is refused, as a cluster's strict decoding does.

Not the clusters' schemas: what this platform acts on is typed to the leaf, what only a cluster acts on (affinity,
volumes, …) is known by name and passed through. `structural` reads the descriptions, `openapi` publishes them.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
QUANTITY: Schema = {"x-kubernetes-int-or-string": True}
OPEN: Schema = {"x-kubernetes-preserve-unknown-fields": True}


def fields(names: str, schema: Schema) -> dict[str, Schema]:
    """Several fields of one type."""
    return dict.fromkeys(names.split(), schema)


def record(*parts: dict[str, Schema], required: str = "", **named: Schema) -> Schema:
    """An object with these fields and no others."""
    properties = {name: schema for part in (*parts, named) for name, schema in part.items()}
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required.split()
    return schema


def many(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def mapping(value: Schema) -> Schema:
    return {"type": "object", "additionalProperties": value}


METADATA = record(
    fields("name namespace generateName uid resourceVersion selfLink creationTimestamp deletionTimestamp", TEXT),
    fields("generation deletionGracePeriodSeconds", WHOLE),
    labels=mapping(TEXT),
    annotations=mapping(TEXT),
    finalizers=many(TEXT),
    ownerReferences=many(OPEN),
    managedFields=OPEN,
)

_KEY = record(fields("name key", TEXT), optional=FLAG)
_ENV = record(
    fields("name value", TEXT),
    required="name",
    valueFrom=record(
        configMapKeyRef=_KEY,
        secretKeyRef=_KEY,
        fieldRef=record(fields("apiVersion fieldPath", TEXT)),
        resourceFieldRef=OPEN,
    ),
)
_FROM = record(fields("name", TEXT), optional=FLAG)
_PROBE = record(
    fields("initialDelaySeconds periodSeconds timeoutSeconds successThreshold failureThreshold", WHOLE),
    httpGet=record(
        fields("path host scheme", TEXT), port=QUANTITY, httpHeaders=many(record(fields("name value", TEXT)))
    ),
    tcpSocket=record(host=TEXT, port=QUANTITY),
    exec=record(command=many(TEXT)),
    grpc=record(port=WHOLE, service=TEXT),
)
# What containers and pods have in a Knative Service; KServe's have everything that Kubernetes has.
_KNATIVE_CONTAINER = record(
    fields("name image workingDir imagePullPolicy terminationMessagePath terminationMessagePolicy", TEXT),
    fields("command args", many(TEXT)),
    fields("livenessProbe readinessProbe startupProbe", _PROBE),
    fields("securityContext volumeMounts", OPEN),
    env=many(_ENV),
    envFrom=many(record(prefix=TEXT, configMapRef=_FROM, secretRef=_FROM)),
    ports=many(record(fields("name protocol", TEXT), containerPort=WHOLE)),
    resources=record(fields("limits requests", mapping(QUANTITY))),
)
_CONTAINER = record(
    _KNATIVE_CONTAINER["properties"],
    fields("lifecycle resizePolicy restartPolicy restartPolicyRules volumeDevices", OPEN),
    fields("stdin stdinOnce tty", FLAG),
)
_SCHEDULING = {
    "schedulerName": TEXT,
    **fields("hostIPC", FLAG),
    **fields("affinity imagePullSecrets nodeSelector resourceClaims tolerations volumes", OPEN),
}
_KNATIVE_POD = {
    **_SCHEDULING,
    **fields("containers initContainers", many(_KNATIVE_CONTAINER)),
    **fields("dnsPolicy priorityClassName runtimeClassName serviceAccountName", TEXT),
    **fields("automountServiceAccountToken enableServiceLinks hostNetwork hostPID shareProcessNamespace", FLAG),
    **fields("dnsConfig hostAliases securityContext topologySpreadConstraints", OPEN),
}
del _KNATIVE_POD["resourceClaims"]
_POD = {
    **_SCHEDULING,
    **_KNATIVE_POD,
    **fields("containers initContainers", many(_CONTAINER)),
    **fields("hostname hostnameOverride nodeName preemptionPolicy restartPolicy serviceAccount subdomain", TEXT),
    **fields("hostUsers setHostnameAsFQDN", FLAG),
    **fields("activeDeadlineSeconds priority terminationGracePeriodSeconds", WHOLE),
    **fields("os overhead readinessGates schedulingGates", OPEN),
}

# serving.kserve.io
_FORMAT = record(fields("name version", TEXT), required="name")
_LOGGER = record(
    fields("mode url batchInterval marshallerUrl", TEXT),
    batchSize=WHOLE,
    metadataHeaders=many(TEXT),
    metadataAnnotations=many(TEXT),
    storage=OPEN,
)
_SCALING = {
    **fields("minReplicas maxReplicas scaleTarget containerConcurrency timeout canaryTrafficPercent", WHOLE),
    "scaleMetric": TEXT,
    "scaleMetricType": TEXT,
    "labels": mapping(TEXT),
    "annotations": mapping(TEXT),
    "logger": _LOGGER,
    **fields("autoScaling batcher deploymentStrategy", OPEN),
}
_MODEL = record(
    _CONTAINER["properties"],
    fields("runtime runtimeVersion protocolVersion storageUri", TEXT),
    required="modelFormat",
    modelFormat=_FORMAT,
    storage=OPEN,
)
_COMPONENT = record(_POD, _SCALING, fields("resources storageUris", OPEN))
_RUNTIME = record(
    _SCHEDULING,
    fields("disabled multiModel", FLAG),
    fields("labels annotations", mapping(TEXT)),
    fields("grpcDataEndpoint grpcEndpoint httpDataEndpoint", TEXT),
    fields("builtInAdapter replicas storageHelper workerSpec", OPEN),
    required="containers",
    containers=many(_CONTAINER),
    supportedModelFormats=many(record(fields("name version", TEXT), autoSelect=FLAG, priority=WHOLE, required="name")),
    protocolVersions=many(TEXT),
)
_STORAGE = record(
    container=_CONTAINER,
    supportedUriFormats=many(record(fields("prefix regex", TEXT))),
    workloadType=TEXT,
    supportsMultiModelDownload=FLAG,
    required="container supportedUriFormats",
)

# serving.knative.dev
_TEMPLATE = record(
    metadata=record(fields("name namespace", TEXT), fields("labels annotations", mapping(TEXT)), finalizers=OPEN),
    spec=record(
        _KNATIVE_POD,
        fields("containerConcurrency timeoutSeconds responseStartTimeoutSeconds idleTimeoutSeconds", WHOLE),
    ),
)
_TRAFFIC = many(record(fields("revisionName configurationName tag url", TEXT), latestRevision=FLAG, percent=WHOLE))
_SERVICE = record(template=_TEMPLATE, traffic=_TRAFFIC)

# eventing.knative.dev, sources.knative.dev
_REFERENCE = record(fields("kind namespace name apiVersion", TEXT))
_DESTINATION = record(fields("uri CACerts audience", TEXT), ref=_REFERENCE)
_DELIVERY = record(
    fields("backoffPolicy backoffDelay timeout retryAfterMax format", TEXT),
    retry=WHOLE,
    deadLetterSink=_DESTINATION,
)
# Filters nest (all, any, not) without limit: admission walks them.
_TRIGGER = record(
    broker=TEXT,
    brokerRef=OPEN,
    filter=record(attributes=mapping(TEXT)),
    filters=many(OPEN),
    subscriber=_DESTINATION,
    delivery=_DELIVERY,
    required="subscriber",
)
_BROKER = record(config=_REFERENCE, delivery=_DELIVERY)
_PING = record(
    fields("schedule timezone contentType data dataBase64", TEXT),
    sink=_DESTINATION,
    ceOverrides=record(extensions=mapping(TEXT)),
    required="sink",
)


_OBJECT = record(fields("apiVersion kind", TEXT), metadata=METADATA)


def _with_status(spec: Schema) -> Schema:
    return record(_OBJECT["properties"], spec=spec, status=OPEN)


SCHEMAS: dict[tuple[str, str], Schema] = {
    ("", "Namespace"): _with_status(OPEN),
    ("", "ConfigMap"): record(_OBJECT["properties"], fields("data binaryData", mapping(TEXT)), immutable=FLAG),
    ("", "Secret"): record(_OBJECT["properties"], fields("data stringData", mapping(TEXT)), type=TEXT, immutable=FLAG),
    ("", "Service"): _with_status(OPEN),
    ("", "ServiceAccount"): record(
        _OBJECT["properties"], fields("secrets imagePullSecrets", many(OPEN)), automountServiceAccountToken=FLAG
    ),
    ("", "Event"): record(
        _OBJECT["properties"],
        fields("reason message type action reportingComponent reportingInstance", TEXT),
        fields("firstTimestamp lastTimestamp eventTime", TEXT),
        fields("involvedObject related source series", OPEN),
        count=WHOLE,
    ),
    ("", "Pod"): _with_status(record(_POD)),
    ("serving.kserve.io", "InferenceService"): _with_status(
        record(
            predictor=record(
                _COMPONENT["properties"], fields("name storageContainerName", TEXT), model=_MODEL, workerSpec=OPEN
            ),
            transformer=_COMPONENT,
            explainer=_COMPONENT,
            required="predictor",
        )
    ),
    ("serving.kserve.io", "ServingRuntime"): _with_status(_RUNTIME),
    ("serving.kserve.io", "ClusterServingRuntime"): _with_status(_RUNTIME),
    ("serving.kserve.io", "ClusterStorageContainer"): record(_OBJECT["properties"], spec=_STORAGE, disabled=FLAG),
    ("serving.knative.dev", "Service"): _with_status(_SERVICE),
    ("serving.knative.dev", "Configuration"): _with_status(record(template=_TEMPLATE)),
    ("serving.knative.dev", "Revision"): _with_status(_TEMPLATE["properties"]["spec"]),
    ("serving.knative.dev", "Route"): _with_status(record(traffic=_TRAFFIC)),
    ("eventing.knative.dev", "Broker"): _with_status(_BROKER),
    ("eventing.knative.dev", "Trigger"): _with_status(_TRIGGER),
    ("sources.knative.dev", "PingSource"): _with_status(_PING),
}

"""The fields the embedded platform knows of each kind: a misspelt one is refused, as a cluster's strict decoding does.

Not the clusters' schemas: what this platform acts on is typed to the leaf, what only a cluster acts on (affinity,
volumes, …) is known by name and passed through. `structural` reads the descriptions, `openapi` publishes them.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
INT_OR_STRING: Schema = {"x-kubernetes-int-or-string": True}
PRESERVE_UNKNOWN: Schema = {"x-kubernetes-preserve-unknown-fields": True}


def fields(names: str, schema: Schema) -> dict[str, Schema]:
    """Several fields of one type."""
    return dict.fromkeys(names.split(), schema)


def object_of(*parts: dict[str, Schema], required: str = "", **named: Schema) -> Schema:
    """An object with these fields and no others."""
    properties = {name: schema for part in (*parts, named) for name, schema in part.items()}
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required.split()
    return schema


def array_of(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def map_of(value: Schema) -> Schema:
    return {"type": "object", "additionalProperties": value}


METADATA = object_of(
    fields("name namespace generateName uid resourceVersion selfLink creationTimestamp deletionTimestamp", STRING),
    fields("generation deletionGracePeriodSeconds", INTEGER),
    labels=map_of(STRING),
    annotations=map_of(STRING),
    finalizers=array_of(STRING),
    ownerReferences=array_of(PRESERVE_UNKNOWN),
    managedFields=PRESERVE_UNKNOWN,
)

_KEY = object_of(fields("name key", STRING), optional=BOOLEAN)
_ENV = object_of(
    fields("name value", STRING),
    required="name",
    valueFrom=object_of(
        configMapKeyRef=_KEY,
        secretKeyRef=_KEY,
        fieldRef=object_of(fields("apiVersion fieldPath", STRING)),
        resourceFieldRef=PRESERVE_UNKNOWN,
    ),
)
_FROM = object_of(fields("name", STRING), optional=BOOLEAN)
_PROBE = object_of(
    fields("initialDelaySeconds periodSeconds timeoutSeconds successThreshold failureThreshold", INTEGER),
    httpGet=object_of(
        fields("path host scheme", STRING),
        port=INT_OR_STRING,
        httpHeaders=array_of(object_of(fields("name value", STRING))),
    ),
    tcpSocket=object_of(host=STRING, port=INT_OR_STRING),
    exec=object_of(command=array_of(STRING)),
    grpc=object_of(port=INTEGER, service=STRING),
)
# What containers and pods have in a Knative Service; KServe's have everything that Kubernetes has.
_KNATIVE_CONTAINER = object_of(
    fields("name image workingDir imagePullPolicy terminationMessagePath terminationMessagePolicy", STRING),
    fields("command args", array_of(STRING)),
    fields("livenessProbe readinessProbe startupProbe", _PROBE),
    fields("securityContext volumeMounts", PRESERVE_UNKNOWN),
    env=array_of(_ENV),
    envFrom=array_of(object_of(prefix=STRING, configMapRef=_FROM, secretRef=_FROM)),
    ports=array_of(object_of(fields("name protocol", STRING), containerPort=INTEGER)),
    resources=object_of(fields("limits requests", map_of(INT_OR_STRING))),
)
_CONTAINER = object_of(
    _KNATIVE_CONTAINER["properties"],
    fields("lifecycle resizePolicy restartPolicy restartPolicyRules volumeDevices", PRESERVE_UNKNOWN),
    fields("stdin stdinOnce tty", BOOLEAN),
)
_SCHEDULING = {
    "schedulerName": STRING,
    **fields("hostIPC", BOOLEAN),
    **fields("affinity imagePullSecrets nodeSelector resourceClaims tolerations volumes", PRESERVE_UNKNOWN),
}
_KNATIVE_POD = {
    **_SCHEDULING,
    **fields("containers initContainers", array_of(_KNATIVE_CONTAINER)),
    **fields("dnsPolicy priorityClassName runtimeClassName serviceAccountName", STRING),
    **fields("automountServiceAccountToken enableServiceLinks hostNetwork hostPID shareProcessNamespace", BOOLEAN),
    **fields("dnsConfig hostAliases securityContext topologySpreadConstraints", PRESERVE_UNKNOWN),
}
del _KNATIVE_POD["resourceClaims"]
_POD = {
    **_SCHEDULING,
    **_KNATIVE_POD,
    **fields("containers initContainers", array_of(_CONTAINER)),
    **fields("hostname hostnameOverride nodeName preemptionPolicy restartPolicy serviceAccount subdomain", STRING),
    **fields("hostUsers setHostnameAsFQDN", BOOLEAN),
    **fields("activeDeadlineSeconds priority terminationGracePeriodSeconds", INTEGER),
    **fields("os overhead readinessGates schedulingGates", PRESERVE_UNKNOWN),
}

# serving.kserve.io
_FORMAT = object_of(fields("name version", STRING), required="name")
_LOGGER = object_of(
    fields("mode url batchInterval marshallerUrl", STRING),
    batchSize=INTEGER,
    metadataHeaders=array_of(STRING),
    metadataAnnotations=array_of(STRING),
    storage=PRESERVE_UNKNOWN,
)
_SCALING = {
    **fields("minReplicas maxReplicas scaleTarget containerConcurrency timeout canaryTrafficPercent", INTEGER),
    "scaleMetric": STRING,
    "scaleMetricType": STRING,
    "labels": map_of(STRING),
    "annotations": map_of(STRING),
    "logger": _LOGGER,
    **fields("autoScaling batcher deploymentStrategy", PRESERVE_UNKNOWN),
}
_MODEL = object_of(
    _CONTAINER["properties"],
    fields("runtime runtimeVersion protocolVersion storageUri", STRING),
    required="modelFormat",
    modelFormat=_FORMAT,
    storage=PRESERVE_UNKNOWN,
)
_COMPONENT = object_of(_POD, _SCALING, fields("resources storageUris", PRESERVE_UNKNOWN))
_RUNTIME = object_of(
    _SCHEDULING,
    fields("disabled multiModel", BOOLEAN),
    fields("labels annotations", map_of(STRING)),
    fields("grpcDataEndpoint grpcEndpoint httpDataEndpoint", STRING),
    fields("builtInAdapter replicas storageHelper workerSpec", PRESERVE_UNKNOWN),
    required="containers",
    containers=array_of(_CONTAINER),
    supportedModelFormats=array_of(
        object_of(fields("name version", STRING), autoSelect=BOOLEAN, priority=INTEGER, required="name")
    ),
    protocolVersions=array_of(STRING),
)
_STORAGE = object_of(
    container=_CONTAINER,
    supportedUriFormats=array_of(object_of(fields("prefix regex", STRING))),
    workloadType=STRING,
    supportsMultiModelDownload=BOOLEAN,
    required="container supportedUriFormats",
)

# serving.knative.dev
_TEMPLATE = object_of(
    metadata=object_of(
        fields("name namespace", STRING), fields("labels annotations", map_of(STRING)), finalizers=PRESERVE_UNKNOWN
    ),
    spec=object_of(
        _KNATIVE_POD,
        fields("containerConcurrency timeoutSeconds responseStartTimeoutSeconds idleTimeoutSeconds", INTEGER),
    ),
)
_TRAFFIC = array_of(
    object_of(fields("revisionName configurationName tag url", STRING), latestRevision=BOOLEAN, percent=INTEGER)
)
_SERVICE = object_of(template=_TEMPLATE, traffic=_TRAFFIC)

# eventing.knative.dev, sources.knative.dev
_REFERENCE = object_of(fields("kind namespace name apiVersion", STRING))
_DESTINATION = object_of(fields("uri CACerts audience", STRING), ref=_REFERENCE)
_DELIVERY = object_of(
    fields("backoffPolicy backoffDelay timeout retryAfterMax format", STRING),
    retry=INTEGER,
    deadLetterSink=_DESTINATION,
)
# Filters nest (all, any, not) without limit: admission walks them.
_TRIGGER = object_of(
    broker=STRING,
    brokerRef=PRESERVE_UNKNOWN,
    filter=object_of(attributes=map_of(STRING)),
    filters=array_of(PRESERVE_UNKNOWN),
    subscriber=_DESTINATION,
    delivery=_DELIVERY,
    required="subscriber",
)
_BROKER = object_of(config=_REFERENCE, delivery=_DELIVERY)
_PING = object_of(
    fields("schedule timezone contentType data dataBase64", STRING),
    sink=_DESTINATION,
    ceOverrides=object_of(extensions=map_of(STRING)),
    required="sink",
)


_OBJECT = object_of(fields("apiVersion kind", STRING), metadata=METADATA)


def _with_status(spec: Schema) -> Schema:
    return object_of(_OBJECT["properties"], spec=spec, status=PRESERVE_UNKNOWN)


SCHEMAS: dict[tuple[str, str], Schema] = {
    ("", "Namespace"): _with_status(PRESERVE_UNKNOWN),
    ("", "ConfigMap"): object_of(_OBJECT["properties"], fields("data binaryData", map_of(STRING)), immutable=BOOLEAN),
    ("", "Secret"): object_of(
        _OBJECT["properties"], fields("data stringData", map_of(STRING)), type=STRING, immutable=BOOLEAN
    ),
    ("", "Service"): _with_status(PRESERVE_UNKNOWN),
    ("", "ServiceAccount"): object_of(
        _OBJECT["properties"],
        fields("secrets imagePullSecrets", array_of(PRESERVE_UNKNOWN)),
        automountServiceAccountToken=BOOLEAN,
    ),
    ("", "Event"): object_of(
        _OBJECT["properties"],
        fields("reason message type action reportingComponent reportingInstance", STRING),
        fields("firstTimestamp lastTimestamp eventTime", STRING),
        fields("involvedObject related source series", PRESERVE_UNKNOWN),
        count=INTEGER,
    ),
    ("", "Pod"): _with_status(object_of(_POD)),
    ("serving.kserve.io", "InferenceService"): _with_status(
        object_of(
            predictor=object_of(
                _COMPONENT["properties"],
                fields("name storageContainerName", STRING),
                model=_MODEL,
                workerSpec=PRESERVE_UNKNOWN,
            ),
            transformer=_COMPONENT,
            explainer=_COMPONENT,
            required="predictor",
        )
    ),
    ("serving.kserve.io", "ServingRuntime"): _with_status(_RUNTIME),
    ("serving.kserve.io", "ClusterServingRuntime"): _with_status(_RUNTIME),
    ("serving.kserve.io", "ClusterStorageContainer"): object_of(_OBJECT["properties"], spec=_STORAGE, disabled=BOOLEAN),
    ("serving.knative.dev", "Service"): _with_status(_SERVICE),
    ("serving.knative.dev", "Configuration"): _with_status(object_of(template=_TEMPLATE)),
    ("serving.knative.dev", "Revision"): _with_status(_TEMPLATE["properties"]["spec"]),
    ("serving.knative.dev", "Route"): _with_status(object_of(traffic=_TRAFFIC)),
    ("eventing.knative.dev", "Broker"): _with_status(_BROKER),
    ("eventing.knative.dev", "Trigger"): _with_status(_TRIGGER),
    ("sources.knative.dev", "PingSource"): _with_status(_PING),
}

"""The loop's CloudEvents: their types and their sources.

Types that CDEvents defines carry its version; our own are custom CDEvents (`cdeventsx`); the inference events are
KServe's. A source names the component that made the event: `/coding-mcqa/COMPONENT`. KServe and Knative choose theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

INFERENCE_REQUEST = "org.kubeflow.serving.inference.request"
INFERENCE_RESPONSE = "org.kubeflow.serving.inference.response"
FEEDBACK = "dev.cdeventsx.mcqa-answer.feedback"
PING = "dev.knative.sources.ping"
DRIFT_CHECKED = "dev.cdeventsx.mcqa-drift.checked"
DRIFT_DETECTED = "dev.cdeventsx.mcqa-drift.detected"
RETRAINING_REQUESTED = "dev.cdeventsx.mcqa-retraining.requested"
ROLLOUT_REQUESTED = "dev.cdeventsx.mcqa-rollout.requested"
PIPELINERUN_QUEUED = "dev.cdevents.pipelinerun.queued.0.3.0"
PIPELINERUN_STARTED = "dev.cdevents.pipelinerun.started.0.3.0"
PIPELINERUN_FINISHED = "dev.cdevents.pipelinerun.finished.0.3.0"
TESTSUITERUN_FINISHED = "dev.cdevents.testsuiterun.finished.0.3.0"
ARTIFACT_PUBLISHED = "dev.cdevents.artifact.published.0.3.0"
SERVICE_DEPLOYED = "dev.cdevents.service.deployed.0.3.0"
SERVICE_UPGRADED = "dev.cdevents.service.upgraded.0.3.0"
SERVICE_ROLLEDBACK = "dev.cdevents.service.rolledback.0.3.0"
INCIDENT_DETECTED = "dev.cdevents.incident.detected.0.3.0"

SOURCE_CLI = "/coding-mcqa/cli"
SOURCE_DEMO = "/coding-mcqa/demo"
SOURCE_DRIFT = "/coding-mcqa/drift"
SOURCE_PIPELINE = "/coding-mcqa/pipeline"
SOURCE_RETRAIN = "/coding-mcqa/retrain"
SOURCE_ROLLOUT = "/coding-mcqa/rollout"
SOURCE_UI = "/coding-mcqa/ui"
SOURCE_WEBHOOK = "/coding-mcqa/webhook"


@dataclass(frozen=True, slots=True)
class EventType:
    """One line of the catalogue: who sends events of this type, and what their subject is identified by."""

    type: str
    meaning: str
    producers: tuple[str, ...]
    key: str


CATALOGUE = (
    EventType(INFERENCE_REQUEST, "a question reached the model", ("KServe's payload logger",), "request id"),
    EventType(INFERENCE_RESPONSE, "the model answered", ("KServe's payload logger",), "request id"),
    EventType(FEEDBACK, "the right answer of a question", ("clients", SOURCE_CLI, SOURCE_UI, SOURCE_DEMO), "answer id"),
    EventType(PING, "a schedule is due", ("PingSource",), "schedule and time"),
    EventType(DRIFT_CHECKED, "a window was compared with the reference", (SOURCE_DRIFT,), "version and window"),
    EventType(DRIFT_DETECTED, "a window differs enough to act", (SOURCE_DRIFT,), "version and window"),
    EventType(RETRAINING_REQUESTED, "a person asks for a retraining", (SOURCE_CLI,), "request id"),
    EventType(
        ROLLOUT_REQUESTED, "the rollout is to be reconciled", (SOURCE_WEBHOOK, SOURCE_CLI, SOURCE_UI), "delivery"
    ),
    EventType(PIPELINERUN_QUEUED, "a run was asked for", (SOURCE_RETRAIN,), "run key"),
    EventType(PIPELINERUN_STARTED, "a run began", (SOURCE_PIPELINE, SOURCE_RETRAIN), "run key"),
    EventType(PIPELINERUN_FINISHED, "a run ended", (SOURCE_PIPELINE, SOURCE_RETRAIN), "run key"),
    EventType(TESTSUITERUN_FINISHED, "the quality gate reached a verdict", (SOURCE_PIPELINE,), "run key"),
    EventType(ARTIFACT_PUBLISHED, "a version was registered", (SOURCE_PIPELINE,), "purl of the version"),
    EventType(SERVICE_DEPLOYED, "a canary received its first traffic", (SOURCE_ROLLOUT,), "version and phase"),
    EventType(SERVICE_UPGRADED, "a challenger was promoted", (SOURCE_ROLLOUT,), "version and phase"),
    EventType(SERVICE_ROLLEDBACK, "a challenger was rolled back", (SOURCE_ROLLOUT,), "version and phase"),
    EventType(INCIDENT_DETECTED, "something needs a person", (SOURCE_ROLLOUT, SOURCE_RETRAIN), "version or run key"),
)

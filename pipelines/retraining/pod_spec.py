"""What each step's pod gets on a cluster: environment, resources, scratch space, deadline, node, user.

It goes into the compiled file's second document, the platform spec, which a local runner does not read: there a step
has the environment of the runner. Names of ConfigMap and Secrets, and their keys, are those of knative/config.yaml, and
they must be in the namespace where the pods run.

kfp-kubernetes has no way to set a read-only root, fsGroup, ephemeral-storage requests or a priority class. Kubeflow
itself drops all capabilities and forbids privilege escalation; the service account is the run's, not the pipeline's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from kfp import dsl, kubernetes

USER = 65532
CACHE = "/tmp/.cache/coding-mcqa"
"""Where predictor.storage keeps downloaded versions in an image whose HOME is /tmp."""
IMAGE = "dev.local/coding-mcqa/pipelines:0.2.0"
REGISTRY_SECRET = "registry"
REGISTRY_KEYS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
"""For an MLflow that asks for them; every step reads the registry."""

Step = Literal["collect-data", "fine-tune", "evaluate", "gate", "reference", "register", "report"]


@dataclass(frozen=True, slots=True)
class StepResources:
    """CPU and memory as (request, limit), the size of /tmp, and the seconds after which the step is ended.

    `settings` are keys of the ConfigMap, `secrets` of the Secret: only what the step reads. `model`: the step downloads
    versions.
    """

    cpu: tuple[str, str]
    memory: tuple[str, str]
    scratch: str
    seconds: int
    settings: tuple[str, ...] = ("MLFLOW_TRACKING_URI",)
    secrets: tuple[str, ...] = ()
    model: bool = False


_SENDS_EVENTS = ("MLFLOW_TRACKING_URI", "K_SINK")
_BEGINS_OR_ENDS = (*_SENDS_EVENTS, "KFP_ENDPOINT", "MCQA_REGISTERED_MODEL")
# For 1.5 B parameters in bfloat16, 3.1 GB per copy. Fine-tuning has one copy in memory beside LoRA's own weights and
# the activations; in /tmp it has a plain copy of the base, the adapter and, without a claim, the base itself.
# Evaluation loads two versions.
STEP_RESOURCES: dict[Step, StepResources] = {
    "collect-data": StepResources(("250m", "2"), ("1Gi", "2Gi"), "1Gi", 1800, _BEGINS_OR_ENDS, ("MCQA_DATABASE_URL",)),
    "fine-tune": StepResources(("4", "8"), ("12Gi", "16Gi"), "16Gi", 6 * 3600, model=True),
    "evaluate": StepResources(("2", "8"), ("8Gi", "12Gi"), "8Gi", 3 * 3600, model=True),
    "gate": StepResources(("100m", "1"), ("512Mi", "1Gi"), "1Gi", 900, _SENDS_EVENTS),
    "reference": StepResources(("2", "8"), ("5Gi", "8Gi"), "8Gi", 3 * 3600, model=True),
    "register": StepResources(("500m", "2"), ("1Gi", "4Gi"), "8Gi", 3600, _SENDS_EVENTS),
    "report": StepResources(("100m", "1"), ("512Mi", "1Gi"), "1Gi", 900, _BEGINS_OR_ENDS),
}
_SMALL = StepResources(("500m", "2"), ("1Gi", "3Gi"), "2Gi", 3600, model=True)
MODEL_SIZES: dict[str, dict[Step, StepResources]] = {
    "1.5b": STEP_RESOURCES,
    "tiny": {step: _SMALL if resources.model else resources for step, resources in STEP_RESOURCES.items()},
}
"""By the size of the model: "tiny" is for the shipped one, and fits one small node."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Defaults of the pipeline's parameters of the same names; each run may choose others.

    `accelerator`: an extended resource like nvidia.com/gpu, "" for none. `tolerations` as in a pod's specification.
    """

    accelerator: str = ""
    accelerators: int = 1
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What differs from cluster to cluster. `cache_claim`: a PersistentVolumeClaim that keeps downloaded versions.

    `placed`: the steps that the placement is for. A step that `resources` leaves out has its default.
    """

    image: str = IMAGE
    config_map: str = "loop"
    secret: str = "loop"
    cache_claim: str = ""
    pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    pull_secrets: tuple[str, ...] = ()
    placement: Placement = field(default_factory=Placement)
    placed: tuple[Step, ...] = ("fine-tune",)
    resources: dict[Step, StepResources] = field(default_factory=dict)

    def resources_of(self, step: Step) -> StepResources:
        return self.resources.get(step, STEP_RESOURCES[step])


def apply_pod_spec(task: dsl.PipelineTask, step: Step, options: ClusterOptions, placement: dict[str, Any]) -> None:
    """Sets all of it on one task. `placement`: the pipeline's parameters (channels), by the names of Placement."""
    resources = options.resources_of(step)
    task.set_container_image(options.image)
    task.set_cpu_request(resources.cpu[0]).set_cpu_limit(resources.cpu[1])
    task.set_memory_request(resources.memory[0]).set_memory_limit(resources.memory[1])
    kubernetes.set_timeout(task, resources.seconds)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.empty_dir_mount(task, "tmp", "/tmp", size_limit=resources.scratch)
    if options.cache_claim and resources.model:
        kubernetes.mount_pvc(task, options.cache_claim, CACHE)
    kubernetes.use_config_map_as_env(task, options.config_map, {name: name for name in resources.settings})
    if resources.secrets:
        kubernetes.use_secret_as_env(task, options.secret, {name: name for name in resources.secrets})
    kubernetes.use_secret_as_env(task, REGISTRY_SECRET, {name: name for name in REGISTRY_KEYS}, optional=True)
    if options.pull_policy:
        kubernetes.set_image_pull_policy(task, options.pull_policy)
    if options.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(options.pull_secrets))
    if step in options.placed:
        # The compiler hands these two on into the exit handler's group only when they are registered as used.
        task.register_pipeline_channels([placement["accelerator"], placement["accelerators"]])
        task.set_accelerator_type(placement["accelerator"]).set_accelerator_limit(placement["accelerators"])
        kubernetes.add_node_selector_json(task, placement["node_selector"])
        kubernetes.add_toleration_json(task, placement["tolerations"])

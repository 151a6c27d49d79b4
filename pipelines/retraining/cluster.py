"""What a cluster is told of each step beside its program: environment, resources, scratch space, deadline, node, user.

It goes into the compiled file's second document, its platform spec, which a local runner does not read: there a step
has the environment of the runner. Names of ConfigMap and Secrets, and their keys, are those of knative/config.yaml, and
they must be in the namespace where the pods run.

What kfp-kubernetes cannot say: a read-only root, fsGroup, ephemeral-storage requests, a priority class. Kubeflow itself
drops all capabilities and forbids privilege escalation; the service account is the run's, not the pipeline's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from kfp import dsl, kubernetes

USER = 65532
CACHE = "/tmp/.cache/coding-mcqa"
"""Where predictor.storage keeps downloaded versions in an image whose HOME is /tmp."""
IMAGE = "dev.local/coding-mcqa/pipelines:0.1.0"
REGISTRY_SECRET = "registry"
REGISTRY_KEYS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
"""For an MLflow that asks for them; every step reads the registry."""

Step = Literal["collect-data", "fine-tune", "evaluate", "gate", "reference", "register", "report"]


@dataclass(frozen=True, slots=True)
class Needs:
    """One step's: CPU and memory as (request, limit), the size of /tmp, and the seconds until it is ended.

    `settings` are keys of the ConfigMap, `secrets` of the Secret: only what the step reads. `model`: it keeps versions.
    """

    cpu: tuple[str, str]
    memory: tuple[str, str]
    scratch: str
    seconds: int
    settings: tuple[str, ...] = ("MLFLOW_TRACKING_URI",)
    secrets: tuple[str, ...] = ()
    model: bool = False


_TELLS = ("MLFLOW_TRACKING_URI", "K_SINK")
_ENDS = (*_TELLS, "KFP_ENDPOINT", "MCQA_REGISTERED_MODEL")
# For 1.5 B parameters in bfloat16, 3.1 GB a copy. Fine-tuning holds one in memory beside LoRA's own and activations; in
# /tmp it has the base's plain copy, the adapter and, without a claim, the base. Evaluation holds two versions.
NEEDS: dict[Step, Needs] = {
    "collect-data": Needs(("250m", "2"), ("1Gi", "2Gi"), "1Gi", 1800, _ENDS, ("MCQA_DATABASE_URL",)),
    "fine-tune": Needs(("4", "8"), ("12Gi", "16Gi"), "16Gi", 6 * 3600, model=True),
    "evaluate": Needs(("2", "8"), ("8Gi", "12Gi"), "8Gi", 3 * 3600, model=True),
    "gate": Needs(("100m", "1"), ("512Mi", "1Gi"), "1Gi", 900, _TELLS),
    "reference": Needs(("2", "8"), ("5Gi", "8Gi"), "8Gi", 3 * 3600, model=True),
    "register": Needs(("500m", "2"), ("1Gi", "4Gi"), "8Gi", 3600, _TELLS),
    "report": Needs(("100m", "1"), ("512Mi", "1Gi"), "1Gi", 900, _ENDS),
}


_SMALL = (("500m", "2"), ("1Gi", "3Gi"), "2Gi", 3600)
SIZES: dict[str, dict[Step, Needs]] = {
    "1.5b": NEEDS,
    "tiny": NEEDS | {name: Needs(*_SMALL, model=True) for name, needs in NEEDS.items() if needs.model},
}
"""By the size of the model: tiny is for the shipped one, and fits one small node."""


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
class Options:
    """What differs from cluster to cluster. `cache_claim`: a PersistentVolumeClaim that keeps downloaded versions.

    `placed`: the steps that the placement is for. Of `needs`, a step that is left out has its default.
    """

    image: str = IMAGE
    config_map: str = "loop"
    secret: str = "loop"
    cache_claim: str = ""
    pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    pull_secrets: tuple[str, ...] = ()
    placement: Placement = field(default_factory=Placement)
    placed: tuple[Step, ...] = ("fine-tune",)
    needs: dict[Step, Needs] = field(default_factory=dict)

    def of(self, step: Step) -> Needs:
        return self.needs.get(step, NEEDS[step])


def deploy(task: dsl.PipelineTask, step: Step, options: Options, placement: dict[str, Any]) -> None:
    """Says all of it of one task. `placement`: the pipeline's parameters (channels), by the names of Placement."""
    needs = options.of(step)
    task.set_container_image(options.image)
    task.set_cpu_request(needs.cpu[0]).set_cpu_limit(needs.cpu[1])
    task.set_memory_request(needs.memory[0]).set_memory_limit(needs.memory[1])
    kubernetes.set_timeout(task, needs.seconds)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.empty_dir_mount(task, "tmp", "/tmp", size_limit=needs.scratch)
    if options.cache_claim and needs.model:
        kubernetes.mount_pvc(task, options.cache_claim, CACHE)
    kubernetes.use_config_map_as_env(task, options.config_map, {name: name for name in needs.settings})
    if needs.secrets:
        kubernetes.use_secret_as_env(task, options.secret, {name: name for name in needs.secrets})
    kubernetes.use_secret_as_env(task, REGISTRY_SECRET, {name: name for name in REGISTRY_KEYS}, optional=True)
    if options.pull_policy:
        kubernetes.set_image_pull_policy(task, options.pull_policy)
    if options.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(options.pull_secrets))
    if step in options.placed:
        # The compiler passes these two on into the exit handler's group only when it is told that they are used.
        task.register_pipeline_channels([placement["accelerator"], placement["accelerators"]])
        task.set_accelerator_type(placement["accelerator"]).set_accelerator_limit(placement["accelerators"])
        kubernetes.add_node_selector_json(task, placement["node_selector"])
        kubernetes.add_toleration_json(task, placement["tolerations"])

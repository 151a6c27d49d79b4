"""From nothing to the first answer on minikube: Knative, Kourier, KServe, Kubeflow Pipelines, MLflow, this project.

Every step may be repeated: what is there is left, or brought to the versions of deploy/versions.env. In the cluster it
also sets: Kourier as Knative's ingress, where none is set; example.com as its domain, where it has none; four
features of pods that deploy/production asks for; and, with Kourier, KServe's disableIstioVirtualHost.
"""

from __future__ import annotations

import os
import re
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.names import NAMESPACE
from tools import process
from tools.cluster import kubeflow
from tools.cluster.deploy import SERVING, Deployment, deploy
from tools.cluster.kubectl import INSTALL, LOCAL_ADDRESS, Kubectl, port_forward
from tools.cluster.platform import InstallOptions, Platform
from tools.cluster.readiness import PREDICTOR
from tools.cluster.secrets import Secrets
from tools.cluster.smoke import smoke
from tools.console import Console
from tools.errors import ToolError
from tools.project import IMAGES, LOCAL_REGISTRY, ROOT, VERSION, find_program, pinned_versions

IMAGE_SOURCES = (
    "common", "predictor", "functions", "pipelines", "mcqa", "ui", "models/tiny", "deploy/mlflow",
    "scripts/images-base", "scripts/images-bytecode", "scripts/images-packages",
)  # fmt: skip
"""Everything that gets into the images, or decides what does; tests/images holds it to the Dockerfiles."""
DEPLOY_SECONDS = 900
FIRST_ANSWER_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Machine:
    """minikube's."""

    profile: str
    cpus: str
    memory: str
    disk: str


class ClusterUp:
    """One run. `components`: on top of the overlay, besides those of the parts. `tag`: "" for one of the content."""

    def __init__(
        self,
        kubectl: Kubectl,
        console: Console,
        options: InstallOptions,
        machine: Machine,
        *,
        registry: str,
        tag: str,
        components: Sequence[str],
        kubeflow_namespace: str,
    ) -> None:
        self._kubectl, self._console, self._options, self._machine = kubectl, console, options, machine
        self._registry = LOCAL_REGISTRY if options.minikube else registry  # what minikube loads is of no registry
        self._tag, self._components, self._kubeflow = tag, components, kubeflow_namespace
        self._versions = pinned_versions()
        self._dry = console.dry_run

    def run(self) -> None:
        self._check_programs()
        if self._options.minikube:
            self._start_minikube()
        if not self._dry:
            self._kubectl.check_reachable()
            if not self._options.minikube:
                context = self._kubectl.output("config", "current-context").strip()
                self._console.say(f"into the cluster of context '{context}'")
        Platform(self._kubectl, self._console, self._options).install()
        if self._options.pipelines:
            kubeflow.set_up(self._kubectl, Console("setup-kubeflow", dry_run=self._dry), self._kubeflow)
        if not self._options.minikube:
            self._console.say(
                "what must be there before is there. Next (docs/cluster.md): make secrets; make deploy OVERLAY=…; "
                "make pipeline-deploy; make cluster-status"
            )
            return
        if self._options.images:
            self._load_images()
        elif not self._tag:
            self._tag = self._deployed_tag()
        self._deploy_project()
        self._ask()

    def _check_programs(self) -> None:
        self._need(self._kubectl.program, INSTALL)
        if self._options.minikube:
            self._need("minikube", "https://minikube.sigs.k8s.io/docs/start")
            self._check_version("minikube", self._versions["MINIKUBE_VERSION"], "minikube", "version", "--short")
        if self._options.monitoring:
            self._need("helm", "https://helm.sh/docs/intro/install")
            self._check_version("helm", self._versions["HELM_VERSION"], "helm", "version", "--short")

    def _need(self, program: str, source: str) -> None:
        if not self._dry and find_program(program) is None:
            raise ToolError(f"needs {program}, which is not installed: {source}")

    def _check_version(self, program: str, pinned: str, *command: str) -> None:
        """Says it where the program is older than the version that this was made with."""
        if self._dry:
            self._console.say(f"{program} {pinned} or newer")
            return
        installed = version_numbers(process.attempt(command).stdout)
        if installed and installed < version_numbers(pinned):
            version = ".".join(map(str, installed))
            self._console.say(
                f"{program} {version} is older than {pinned} (deploy/versions.env): if it fails, install that"
            )

    def _start_minikube(self) -> None:
        version, machine = self._versions["KUBERNETES_VERSION"], self._machine
        self._console.say(f"minikube: Kubernetes {version}")
        # Calico, because minikube's default network ignores NetworkPolicies; containerd, because it takes the OCI
        # archives that podman and buildah save, which a Docker daemon may not.
        command = [
            "minikube",
            "start",
            "--profile",
            machine.profile,
            "--kubernetes-version",
            version,
            "--cni",
            "calico",
        ]
        command += ["--container-runtime", "containerd", "--cpus", machine.cpus]
        self._console.run([*command, "--memory", machine.memory, "--disk-size", machine.disk])

    def _load_images(self) -> None:
        """By files: minikube sees Docker's images, but not podman's."""
        profile = ("--profile", self._machine.profile)
        loaded: list[str] = []
        if not self._tag:
            if not self._dry:
                loaded = process.output(["minikube", "image", "ls", *profile]).splitlines()
            self._tag = content_tag(os.environ.get("BASE", ""), os.environ.get("CUDA", ""))
        names = {image: f"{self._registry}/{image}:{self._tag}" for image in IMAGES}
        if not self._dry and all(name in loaded for name in names.values()):
            self._console.say(f"images {self._tag} are in minikube")
            return
        self._console.say(f"images {self._tag}, into minikube")
        out = Path(".cache/images")
        if self._dry:
            self._console.show(["scripts/tools", "images"], OUT=str(out))
        else:
            # With the same variables as `make images`: BASE, CUDA, ENGINE, WHEELS.
            command = [sys.executable, "-m", "tools", "images"]
            process.run(command, env={**os.environ, "REGISTRY": self._registry, "TAG": self._tag, "OUT": str(out)})
        for image, name in names.items():
            archive = out / f"{image}.tar"
            source = str(archive) if self._dry or archive.is_file() else name
            self._console.run(["minikube", "image", "load", *profile, source])

    def _deployed_tag(self) -> str:
        """Of the images that run."""
        if self._dry:
            return ""
        mlflow = self._kubectl.find("deployment", "mlflow", "--namespace", NAMESPACE)
        if mlflow is None:
            return ""
        image: str = mlflow["spec"]["template"]["spec"]["containers"][0]["image"]
        return image.rpartition(":")[2]

    def _deploy_project(self) -> None:
        self._console.say("secrets, manifests")
        components = [*self._components, *(["monitoring"] if self._options.monitoring else [])]
        if self._dry:
            self._console.show(["scripts/tools", "secrets"])
            tag = {"TAG": self._tag} if self._tag else {}
            self._console.show(["scripts/tools", "deploy", "minikube"], COMPONENTS=" ".join(components), **tag)
        else:
            Secrets(self._kubectl, self._kubeflow, os.environ).create()
            wanted = Deployment(
                "minikube", self._registry, self._tag, tuple(components), self._kubeflow, DEPLOY_SECONDS
            )
            deploy(self._kubectl, Console("deploy"), wanted)
        if self._options.pipelines:
            self._console.say("the retraining pipeline")
            kubeflow.deploy_pipeline(
                self._kubectl,
                Console("pipeline-deploy", dry_run=self._dry),
                image=f"{self._registry}/pipelines:{self._tag or VERSION}",
                size="tiny",
                url="",
                kubeflow_namespace=self._kubeflow,
                components=self._components,
            )

    def _ask(self) -> None:
        self._console.say("first answer")
        forward = ("port-forward", "--namespace", "kourier-system", "service/kourier", "8080:80")
        if self._dry:
            self._console.show(self._kubectl.words(*forward))
            host = f"{PREDICTOR}.{NAMESPACE}.example.com"
            self._console.show(["scripts/tools", "smoke", f"http://{LOCAL_ADDRESS}:8080"], HOST_HEADER=host)
            return
        service = self._kubectl.find(*SERVING) or {}
        host = (service.get("status") or {}).get("url", "").partition("://")[2]
        with port_forward(self._kubectl, "kourier-system", "kourier", 80) as port:
            smoke(f"http://{LOCAL_ADDRESS}:{port}", host, FIRST_ANSWER_SECONDS)
        self._console.say(f"done. Ask on: {self._kubectl} {' '.join(forward)}, Host: {host}")


def version_numbers(text: str) -> tuple[int, ...]:
    """The first X.Y.Z of a text; empty where there is none."""
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, match.groups())) if match else ()


def content_tag(*build_options: str) -> str:
    """A tag that names the content, so that a change reaches what runs: pods keep to the name that they were given."""
    checksum = zlib.crc32(" ".join(build_options).encode())
    for source in IMAGE_SOURCES:
        path = ROOT / source
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                checksum = zlib.crc32(str(file.relative_to(ROOT)).encode(), checksum)
                checksum = zlib.crc32(file.read_bytes(), checksum)
    return f"{VERSION}-{checksum}"

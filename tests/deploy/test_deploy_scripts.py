"""The tools for a cluster, against an embedded API server that lacks most of one, and a real model server."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tool import ROOT, TOOL

from functions.database import connect
from mcqa.server_process import free_port, running

pytestmark = pytest.mark.usefixtures("processes")


def fake(place, script) -> None:
    place.write_text(f"#!/usr/bin/env bash\n{script}\n")
    place.chmod(0o755)


def call(environment: dict[str, str], *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env={**environment, **more}, capture_output=True, text=True, timeout=200, check=False
    )


def fake_kubectl(folder: Path, answers: str) -> str:
    """kubectl, but for the calls that the shell commands `answers` answer."""
    path = folder / "kubectl"
    path.write_text(f'#!/usr/bin/env bash\n{answers}\nexec kubectl "$@"\n')
    path.chmod(0o755)
    return str(path)


def get(environment: dict[str, str], kind: str, name: str) -> dict[str, Any]:
    done = call(environment, "kubectl", "get", kind, name, "--namespace", "coding-mcqa", "--output", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_status_of_an_empty_cluster_says_what_is_missing(cluster) -> None:
    done = call(cluster, *TOOL, "cluster-status")
    assert done.returncode == 1
    assert "✗ Kubeflow Pipelines is not installed" in done.stdout
    assert "Knative Serving: the API is there, but no Deployment in knative-serving serves it" in done.stdout
    assert "→ make secrets" in done.stdout
    assert re.search(r"^\d+ missing$", done.stdout.splitlines()[-1])


def test_status_without_a_cluster_is_one_line(cluster, tmp_path) -> None:
    done = call(cluster, *TOOL, "cluster-status", KUBECONFIG=str(tmp_path / "none"))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "does not answer: make cluster-up makes one" in done.stderr


def test_secrets_are_random_kept_and_never_printed(cluster) -> None:
    first = call(cluster, *TOOL, "secrets")
    assert first.returncode == 0, first.stderr
    assert [line.split()[1:3] for line in first.stdout.splitlines()] == [
        ["postgres", "made"], ["mlflow", "made"], ["loop", "made"], ["webhook", "made"], ["ui", "made"]
    ]  # fmt: skip
    before = {name: get(cluster, "secret", name)["data"] for name in ("postgres", "mlflow", "loop", "webhook", "ui")}
    page = base64.b64decode(before["ui"]["MCQA_DATABASE_URL"]).decode()
    values = {
        key: base64.b64decode(value).decode()
        for name, data in before.items()
        for key, value in data.items()
        if name != "ui"
    }
    assert len(set(values.values())) == len(values)
    assert not [key for key, value in values.items() if value in first.stdout + first.stderr]
    assert values["MCQA_DATABASE_URL"] == (
        f"postgresql://loop:{values['LOOP_PASSWORD']}@postgres.coding-mcqa.svc.cluster.local:5432/loop"
    )
    assert connect({"MCQA_DATABASE_URL": values["MCQA_DATABASE_URL"]}).url.password == values["LOOP_PASSWORD"]
    assert page == values["MCQA_DATABASE_URL"].replace("loop:", "loop_ui:").replace(
        values["LOOP_PASSWORD"], values["UI_PASSWORD"]
    )
    assert len(base64.urlsafe_b64decode(values["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"])) == 32
    repeated = call(cluster, *TOOL, "secrets")
    assert repeated.stdout.count("is there and is kept") == 5
    assert before == {name: get(cluster, "secret", name)["data"] for name in before}
    assert not re.search(r"Secret \w+ (has no key|is not there)", call(cluster, *TOOL, "cluster-status").stdout)


def test_secrets_that_are_asked_for(cluster) -> None:
    given = {
        "NOTIFY_URLS": "slack://a/b/c json://host/",
        "MLFLOW_TRACKING_USERNAME": "ann",
        "MLFLOW_TRACKING_PASSWORD": "p=w",
    }
    done = call(cluster, *TOOL, "secrets", **given)
    assert done.returncode == 0, done.stderr
    assert not [value for value in given.values() if value in done.stdout]
    kept = {name: get(cluster, "secret", name)["data"] for name in ("notify", "registry")}
    assert base64.b64decode(kept["notify"]["MCQA_NOTIFY_URLS"]).decode() == given["NOTIFY_URLS"]
    assert {name: base64.b64decode(value).decode() for name, value in kept["registry"].items()} == {
        name: given[name] for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    }


def test_the_pages_sign_in_is_a_file(cluster) -> None:
    given = {
        "UI_URL": "https://ui.example.com/",
        "UI_LOGIN_METADATA_URL": "https://id.example.com/.well-known/openid-configuration",
        "UI_LOGIN_CLIENT_ID": "mcqa",
        "UI_LOGIN_CLIENT_SECRET": 'a "quoted" \\ one',
    }
    half = call(cluster, *TOOL, "secrets", UI_LOGIN_CLIENT_ID="mcqa")
    assert half.returncode == 2
    assert "set UI_URL, UI_LOGIN_METADATA_URL, UI_LOGIN_CLIENT_SECRET, too" in half.stderr
    done = call(cluster, *TOOL, "secrets", **given)
    assert done.returncode == 0, done.stderr
    assert "quoted" not in done.stdout
    text = base64.b64decode(get(cluster, "secret", "ui-login")["data"]["secrets.toml"]).decode()
    table = tomllib.loads(text)["auth"]
    assert table["redirect_uri"] == "https://ui.example.com/oauth2callback"
    assert table["client_secret"] == given["UI_LOGIN_CLIENT_SECRET"]
    assert len(table.pop("cookie_secret")) == 64
    assert table.keys() == {"redirect_uri", "client_id", "client_secret", "server_metadata_url"}


def test_secrets_of_a_database_elsewhere(cluster) -> None:
    for name in ("mlflow", "loop", "ui"):
        call(cluster, "kubectl", "delete", "secret", name, "--namespace", "coding-mcqa")
    half = call(cluster, *TOOL, "secrets", LOOP_DATABASE_URL="postgresql://a:b@c/d")
    assert (half.returncode, "set both" in half.stderr) == (2, True)
    urls = {"LOOP_DATABASE_URL": "postgresql://a:b@db.example.com/d", "MLFLOW_DATABASE_URL": "postgresql://e:f@g/h"}
    for _ in range(2):
        assert call(cluster, *TOOL, "secrets", **urls).returncode == 0
    result = get(cluster, "secret", "loop")["data"]["MCQA_DATABASE_URL"]
    assert base64.b64decode(result).decode() == urls["LOOP_DATABASE_URL"]
    page = get(cluster, "secret", "ui")["data"]["MCQA_DATABASE_URL"]
    assert page == result, "no other role is known there"
    other = call(cluster, *TOOL, "secrets", **urls | {"LOOP_DATABASE_URL": "postgresql://a:b@other.example.com/d"})
    assert other.returncode == 1
    assert "name another database than LOOP_DATABASE_URL" in other.stderr
    assert not re.search("a:b|e:f", other.stderr)
    assert get(cluster, "secret", "loop")["data"]["MCQA_DATABASE_URL"] == result


def test_kubeflows_namespace_is_given_what_steps_read(cluster) -> None:
    assert call(cluster, *TOOL, "kubeflow-settings").returncode == 0  # there is no such namespace yet
    for name in ("coding-mcqa", "kubeflow"):
        call(cluster, "kubectl", "create", "namespace", name)
    assert call(cluster, "kubectl", "apply", "-f", "knative/config.yaml", "-n", "coding-mcqa").returncode == 0
    for _ in range(2):
        assert call(cluster, *TOOL, "kubeflow-settings").returncode == 0
        done = call(cluster, *TOOL, "secrets", MLFLOW_TRACKING_TOKEN="t0ken")
        assert done.returncode == 0, done.stderr
        assert [line for line in done.stdout.splitlines() if "kubeflow" in line] == [
            "secrets: loop written in kubeflow", "secrets: registry written in kubeflow"
        ]  # fmt: skip
    for kind, name in (("configmap", "loop"), ("secret", "loop"), ("secret", "registry")):
        there = call(cluster, "kubectl", "get", kind, name, "-n", "kubeflow", "-o", "json")
        assert json.loads(there.stdout)["data"] == get(cluster, kind, name)["data"]
    names = call(cluster, "kubectl", "get", "secrets", "-n", "kubeflow", "-o", "name").stdout.split()
    assert names == ["secret/loop", "secret/registry"]


def test_a_profile_is_given_what_steps_read(cluster) -> None:
    """Of a Kubeflow of many users; and by --copy-only, which makes no Secret."""
    missing = call(cluster, *TOOL, "secrets", "--copy-only", KUBEFLOW_NAMESPACE="team-a")
    assert (missing.returncode, "there is no namespace team-a" in missing.stderr) == (1, True)
    assert call(cluster, *TOOL, "kubeflow-settings", KUBEFLOW_NAMESPACE="team-a").returncode == 1
    call(cluster, "kubectl", "create", "namespace", "team-a")
    login = ("docker-registry", "registry-pull", "--docker-server=r.example.com", "--docker-username=u")
    made = call(
        cluster, "kubectl", "create", "secret", *login, "--docker-password=p", "-n", "coding-mcqa", "--validate=false"
    )
    assert made.returncode == 0, made.stderr
    call(cluster, "kubectl", "delete", "secret", "webhook", "-n", "coding-mcqa")
    done = call(cluster, *TOOL, "secrets", "--copy-only", KUBEFLOW_NAMESPACE="team-a")
    assert done.stdout.split("\n")[:-1] == [
        f"secrets: {name} written in team-a" for name in ("loop", "registry", "registry-pull")
    ]
    there = call(cluster, "kubectl", "get", "secret", "registry-pull", "-n", "team-a", "-o", "json")
    copy, original = json.loads(there.stdout), get(cluster, "secret", "registry-pull")
    assert (copy["data"], copy["type"]) == (original["data"], "kubernetes.io/dockerconfigjson")
    assert call(cluster, "kubectl", "get", "secret", "webhook", "-n", "coding-mcqa").returncode == 1
    assert call(cluster, *TOOL, "kubeflow-settings", KUBEFLOW_NAMESPACE="team-a").returncode == 0
    assert call(cluster, "kubectl", "get", "configmap", "loop", "-n", "team-a").returncode == 0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            f"echo '{json.dumps({'pipelines': [{'pipeline_id': '1'}], 'total_size': 1})}'; exit 0",
            "✓ the retraining pipeline in Kubeflow",
        ),
        ("echo '{}'; exit 0", "✗ the retraining pipeline was not uploaded"),
        (
            "echo 'Error from server (Forbidden): not found' >&2; exit 1",
            "- whether the retraining pipeline is in Kubeflow",
        ),
    ],
)
def test_status_says_whether_retraining_can_work(cluster, tmp_path, answer, expected) -> None:
    kubectl = fake_kubectl(
        tmp_path,
        f"""case "$*" in
            *'get namespace kubeflow') exit 0 ;;
            *'get deployment ml-pipeline'*) echo '{{"status": {{"availableReplicas": 1}}}}'; exit 0 ;;
            *'/loop --namespace kubeflow') exit 1 ;;
            *'get --raw /api/'*) {answer} ;;
        esac""",
    )
    done = call(cluster, *TOOL, "cluster-status", KUBECTL=kubectl)
    assert expected in done.stdout
    assert "✗ the pipeline's secret/loop is not in kubeflow" in done.stdout
    assert "✗ the pipeline's configmap/loop is not in kubeflow" in done.stdout


def test_deploy_keeps_the_version_that_serves(cluster) -> None:
    """The rollout function's version and share, which a plain `kubectl apply -k` would set back."""
    assert call(cluster, "kubectl", "apply", "-k", "kserve").returncode == 0
    predictor = {
        "annotations": {"coding-mcqa/model-version": "7"},
        "canaryTrafficPercent": 25,
        "model": {"storageUri": "mlflow://coding-mcqa/7"},
    }
    patch = json.dumps({"spec": {"predictor": predictor}})
    name = ("inferenceservice", "coding-mcqa", "--namespace", "coding-mcqa")
    assert call(cluster, "kubectl", "patch", *name, "--type", "merge", "--patch", patch).returncode == 0
    done = call(cluster, *TOOL, "deploy", "minikube", DRY_RUN="1", REGISTRY="registry.example.com/Team", TAG="9")
    assert done.returncode == 0, done.stderr
    text = done.stdout[done.stdout.index("apiVersion:") :]
    documents = [item for item in yaml.safe_load_all(text) if item]
    (service,) = (item for item in documents if item["kind"] == "InferenceService")
    spec = service["spec"]["predictor"]
    assert spec["model"]["storageUri"] == "mlflow://coding-mcqa/7"
    assert spec["annotations"]["coding-mcqa/model-version"] == "7"
    assert spec["canaryTrafficPercent"] == 25
    images = set(re.findall(r"image: (\S+)", text))
    assert {image for image in images if "postgres" not in image} == {
        f"registry.example.com/team/{image}:9" for image in ("predictor", "functions", "pipelines", "mlflow", "ui")
    }
    assert not list((ROOT / "deploy").glob(".apply-*"))
    done = call(cluster, *TOOL, "deploy", "minikube", DRY_RUN="1", COMPONENTS="modelcar")
    assert re.findall("storageUri: (.*)", done.stdout) == ["oci+native://dev.local/coding-mcqa/model:1"]


@pytest.mark.parametrize(("overlay", "count"), [("minikube", 8), ("production", 8), ("standard", 7)])
def test_a_changed_secret_or_setting_restarts_who_has_it_as_environment(cluster, overlay, count) -> None:
    assert call(cluster, *TOOL, "secrets").returncode == 0

    def stamps(**more: str) -> dict[str, str]:
        done = call(cluster, *TOOL, "deploy", overlay, DRY_RUN="1", **more)
        assert done.returncode == 0, done.stderr
        items = [item for item in yaml.safe_load_all(done.stdout) if "template" in (item.get("spec") or {})]
        result = {
            item["metadata"]["name"]: (item["spec"]["template"]["metadata"].get("annotations") or {})
            for item in items
            if item["kind"] in ("Service", "Deployment")
        }
        return {name: item["coding-mcqa/settings"] for name, item in result.items() if "coding-mcqa/settings" in item}

    before = stamps()
    assert len(before) == count
    assert {"collect", "mlflow", "ui"} <= before.keys()
    assert stamps(TAG="9") == before
    change = json.dumps({"stringData": {"MCQA_WEBHOOK_SECRET": os.urandom(8).hex()}})
    patch = (
        "kubectl",
        "patch",
        "secret",
        "webhook",
        "--namespace",
        "coding-mcqa",
        "--type",
        "merge",
        "--patch",
        change,
    )
    assert call(cluster, *patch).returncode == 0
    after = stamps()
    assert all(after[name] != before[name] for name in before)
    # mlflow-ingress writes its host into MLflow's settings.
    assert all(value != after[name] for name, value in stamps(COMPONENTS="mlflow-ingress").items())


def test_the_webhooks_secret_is_rotated(cluster) -> None:
    """The one before stays valid beside the new one, and neither is printed."""

    def secret() -> dict[str, str]:
        data = get(cluster, "secret", "webhook")["data"]
        return {name: base64.b64decode(text).decode() for name, text in data.items()}

    before = secret()["MCQA_WEBHOOK_SECRET"]
    for _ in range(2):
        done = call(cluster, *TOOL, "secrets", "--rotate-webhook")
        assert done.returncode == 0, done.stderr
        after = secret()
        assert after["MCQA_WEBHOOK_SECRET_PREVIOUS"] == before != after["MCQA_WEBHOOK_SECRET"]
        assert not any(value in done.stdout + done.stderr for value in after.values())
        before = after["MCQA_WEBHOOK_SECRET"]
    assert len(before) == 64


def test_deploy_says_what_is_wrong(cluster, tmp_path) -> None:
    done = call(cluster, *TOOL, "deploy", "staging")
    assert (done.returncode, done.stderr) == (
        2,
        "deploy: 'staging' is not an overlay: OVERLAY=minikube|production|standard\n",
    )
    done = call(cluster, *TOOL, "deploy", "minikube", KUBECONFIG=str(tmp_path / "none"))
    assert (done.returncode, "the cluster of the current context does not answer" in done.stderr) == (1, True)


def test_deploy_fails_when_something_cannot_be_applied(cluster, tmp_path) -> None:
    """This cluster knows neither NetworkPolicies nor Jobs, of which there are none to delete then."""
    assert call(cluster, *TOOL, "secrets").returncode == 0
    kubectl = fake_kubectl(tmp_path, '[ "$1 $2" != "delete jobs" ] || exit 0')
    done = call(cluster, *TOOL, "deploy", "minikube", KUBECTL=kubectl)
    assert done.returncode == 1
    assert "NetworkPolicy" in done.stderr or "validat" in done.stderr
    assert done.stderr.splitlines()[-1] == "deploy: not everything could be applied; the lines above say why"
    assert not list((ROOT / "deploy").glob(".apply-*"))


def test_cluster_up_prints_what_it_would_do() -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = call(environment, *TOOL, "cluster-up", "--dry-run")
    assert done.returncode == 0, done.stderr
    versions = dict(line.split("=") for line in (ROOT / "deploy/versions.env").read_text().splitlines() if "=" in line)
    assert all(re.fullmatch(r"v?\d+\.\d+\.\d+", version) for version in versions.values())
    for name, version in versions.items():
        assert version in done.stdout, name
    # One thing after another: what others stand on comes first.
    order = ["minikube start", "cert-manager.yaml", "serving-core.yaml", "eventing-core.yaml", "kserve.yaml"]
    order += ["helm upgrade", "platform-agnostic", "tools images", "tools secrets\n", "tools deploy minikube"]
    order += ["mcqa pipeline compile", "service/ml-pipeline", "mcqa pipeline upload", "tools smoke"]
    places = [done.stdout.rindex(item) for item in order]
    assert places == sorted(places)
    assert "--values deploy/monitoring/values.yaml" in done.stdout
    assert "COMPONENTS=monitoring TAG=" in done.stdout
    assert call(environment, *TOOL, "cluster-up", "--dryrun").returncode == 2


def test_cluster_up_deploys_the_images_that_it_built(tmp_path) -> None:
    """By a tag of their content: a name that stays would leave the old code running."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = call(environment, *TOOL, "cluster-up", "--dry-run", "--no-monitoring", REGISTRY="registry.example.com")
    (tag,) = set(re.findall(r"\d+\.\d+\.\d+-\d+", done.stdout))
    assert f"COMPONENTS= TAG={tag} scripts/tools deploy minikube" in done.stdout
    assert f"--image dev.local/coding-mcqa/pipelines:{tag} --size tiny" in done.stdout
    other = call(environment, *TOOL, "cluster-up", "--dry-run", BASE="debian:other")
    assert tag not in other.stdout


def test_cluster_up_builds_no_image_that_minikube_has(tmp_path) -> None:
    """As far as the images: at the Secrets this cluster says no."""
    fake(tmp_path / "kubectl", 'case "$*" in *" namespace coding-mcqa"*) exit 1 ;; esac')
    fake(
        tmp_path / "minikube",
        f'case "$1" in version) echo v1.38.0 ;; image) echo "$*" >>{tmp_path}/asked; cat {tmp_path}/has ;; esac',
    )
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": "/nonexistent"}
    options = [f"--no-{part}" for part in ("cert-manager", "knative", "kserve", "pipelines", "monitoring")]
    done = call(environment, *TOOL, "cluster-up", "--dry-run", *options)
    (tag,) = set(re.findall(r"\d+\.\d+\.\d+-\d+", done.stdout))
    images = [f"dev.local/coding-mcqa/{name}:{tag}" for name in ("predictor", "functions", "pipelines", "mlflow", "ui")]
    (tmp_path / "has").write_text("registry.k8s.io/pause:3.10\n" + "\n".join(images))
    done = call(environment, *TOOL, "cluster-up", *options)
    assert f"images {tag} are in minikube" in done.stdout, done.stderr
    assert (tmp_path / "asked").read_text() == "image ls --profile coding-mcqa\n"
    # One that is missing: all are built, here by a builder that cannot.
    (tmp_path / "has").write_text("\n".join(images[1:]))
    fake(tmp_path / "podman", "exit 1")
    done = call({**environment, "ENGINE": "podman"}, *TOOL, "cluster-up", *options)
    assert done.returncode != 0
    assert f"images {tag}, into minikube" in done.stdout
    assert "are in minikube" not in done.stdout


def test_cluster_up_leaves_a_cluster_of_ones_own_its_data() -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = call(environment, *TOOL, "cluster-up", "--dry-run", "--no-minikube")
    assert done.returncode == 0, done.stderr
    assert re.findall("tools secrets.*", done.stdout) == ["tools secrets --copy-only"]
    assert not re.search("minikube|tools (deploy|images|smoke)|pipeline upload", done.stdout)
    options = [f"--no-{part}" for part in ("cert-manager", "knative", "kserve", "pipelines", "monitoring")]
    done = call(environment, *TOOL, "cluster-up", "--dry-run", "--no-minikube", *options)
    assert done.returncode == 0, done.stderr
    assert not re.search("kubectl|helm", done.stdout)


def test_cluster_up_keeps_the_ingress_and_domain_that_knative_has(tmp_path) -> None:
    """Everything else that it does is answered with nothing."""
    kubectl = tmp_path / "kubectl"
    fake(
        kubectl,
        f"""echo "$*" >>{tmp_path}/asked
        case "$*" in
            *'configmap config-network'*) echo istio.ingress.networking.knative.dev ;;
            *'get configmap config-domain'*) echo 'example.org ' ;;
        esac""",
    )
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "KUBECTL": str(kubectl)}
    options = ("--no-minikube", "--no-cert-manager", "--no-pipelines", "--no-monitoring")
    done = call(environment, *TOOL, "cluster-up", *options)
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text()
    assert "serving-core.yaml" in asked
    assert not re.search("kourier|patch configmap config-(domain|network)|inferenceservice-config", asked)
    assert "its ingress class istio.ingress.networking.knative.dev stays" in done.stdout


@pytest.fixture(scope="module")
def model_server(processes: None) -> Iterator[str]:
    port = free_port()
    with running(None, port, free_port()):
        yield f"http://127.0.0.1:{port}"


def test_smoke(model_server) -> None:
    environment = {"PATH": os.environ["PATH"], "WAIT": "60", "HOST_HEADER": "coding-mcqa.coding-mcqa.example.com"}
    done = call(environment, *TOOL, "smoke", model_server)
    assert done.returncode == 0, done.stderr
    assert [line[:4] for line in done.stdout.splitlines()] == ["✓ v1", "✓ v2", "✓ a ", "✓ re"]
    assert "version tiny" in done.stdout
    done = call({**environment, "WAIT": "1"}, *TOOL, "smoke", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert done.stderr.startswith("✗ smoke: v1 answered")

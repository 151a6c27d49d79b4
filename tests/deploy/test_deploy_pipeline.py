"""`make pipeline-deploy` against the local pipelines' API, which a port-forward is said to lead to."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kfp_multi_user import multi_user_kubeflow
from kfp_server import ENVIRON, kfp_server
from tool import ROOT, TOOL, invoke

from common.kubeflow import KubeflowClient

pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:
    with kfp_server(tmp_path_factory.mktemp("kubeflow")) as server:
        yield server.url


def upload(folder: Path, url: str, *options: str, **more: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """With what kubectl was asked."""
    kubectl = folder / "kubectl"
    kubectl.write_text(
        f"""#!/usr/bin/env bash
        echo "$*" >>{folder}/asked
        case "$1" in
            port-forward) echo 'Forwarding from 127.0.0.1:{url.rpartition(":")[2]} -> 8888'; exec sleep 100 ;;
            create) echo s3same ;;
        esac
        """
    )
    kubectl.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "KUBECTL": str(kubectl), **ENVIRON, **more}
    done = subprocess.run(
        [*TOOL, "pipeline-deploy", *options], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    asked = folder / "asked"
    return done, asked.read_text() if asked.exists() else ""


def test_the_pipeline_is_uploaded_once_with_the_image_that_is_deployed(url, tmp_path) -> None:
    given = {"REGISTRY": "registry.example.com/Team", "TAG": "9", "COMPONENTS": "always-on registry-pull"}
    # A proxy that nobody answers: the port-forward is asked without it.
    given["http_proxy"] = "http://127.0.0.1:9"
    for words in ("uploaded as version", "is already version"):
        done, asked = upload(tmp_path, url, "--size", "tiny", **given)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout
    assert "port-forward --namespace kubeflow service/ml-pipeline :8888" in asked
    assert len(KubeflowClient({"KFP_ENDPOINT": url, **ENVIRON}).versions()) == 1
    spec, platform = yaml.safe_load_all((ROOT / ".cache/retraining-cluster.yaml").read_text())
    steps = [item["container"] for item in spec["deploymentSpec"]["executors"].values()]
    assert {item["image"] for item in steps} == {"registry.example.com/team/pipelines:9"}
    assert {item["resources"]["resourceMemoryRequest"] for item in steps} == {"512Mi", "1Gi"}  # the real model wants 12
    assert "registry-pull" in yaml.safe_dump(platform)


def test_a_profiles_pipeline_is_uploaded_with_a_token(url, tmp_path) -> None:
    with multi_user_kubeflow(url, "s3same", "team-a") as gate:
        done, asked = upload(tmp_path, gate.url, KUBEFLOW_NAMESPACE="team-a")
        assert done.returncode == 0, done.stderr
        assert gate.refused == []
    assert "create token retrain --namespace coding-mcqa --audience pipelines.kubeflow.org" in asked
    assert "s3same" not in done.stdout + done.stderr


def test_options(url, tmp_path) -> None:
    for wrong in (("--sized", "tiny"), ("--size",)):
        done = invoke("pipeline-deploy", *wrong)
        assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
        assert "--size" in done.stderr
        assert re.search("see `scripts/tools( pipeline-deploy)? --help`", done.stderr)
    assert "1.5b or tiny" in " ".join(invoke("pipeline-deploy", "--help").stdout.replace("│", "").split())
    done, asked = upload(tmp_path, url, "--url", url, "--", "--accelerator", "nvidia.com/gpu")
    assert done.returncode == 0, done.stderr
    assert "port-forward" not in asked

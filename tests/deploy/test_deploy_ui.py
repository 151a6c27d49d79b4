"""The page on a cluster: its settings against its code, its sign-in, and that none is outside without one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tools.cluster import secrets
from tools.cluster.deploy import WITH_LOGIN
from tools.manifests.render import Target, render
from tools.project import DEPLOY
from ui.server import SECRETS
from ui.settings import read_settings

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ("minikube", "production", "standard")
Document = dict[str, Any]


def only(documents: list[Document], kind: str, name: str = "ui") -> Document:
    (result,) = (d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name)
    return result


def with_component(overlay: str, component: str) -> list[Document]:
    return render(Target("x", DEPLOY / overlay, DEPLOY / "components" / component))


def signs_in(documents: list[Document]) -> bool:
    """Whether the page asks who one is, with the Secret's file where the settings say that it is."""
    config = only(documents, "ConfigMap")["data"]
    pod = only(documents, "Deployment")["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {v["name"]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
    files = {f"{mounts[name]}/{key}" for name, secret in volumes.items() for key in secrets.KEYS[secret]}
    settings = read_settings(config)
    assert (settings.login == "oidc") == (config[SECRETS] in files) == bool(settings.url)
    return settings.login == "oidc"


def test_the_pages_settings_are_what_its_code_reads(overlays) -> None:
    code = "".join(path.read_text() for path in (ROOT / "ui").rglob("*.py"))
    read = set(re.findall(r"\bMCQA_UI_[A-Z_]+\b", code)) | {"MCQA_URL"}
    for overlay in OVERLAYS:
        assert only(overlays[overlay], "ConfigMap")["data"].keys() == read
        assert read_settings(only(overlays[overlay], "ConfigMap")["data"]).actions is False


def test_production_signs_in(overlays) -> None:
    for overlay in OVERLAYS:
        assert signs_in(overlays[overlay]) is (overlay in WITH_LOGIN)
    assert "production" in WITH_LOGIN


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_from_outside_one_signs_in_over_tls(overlay) -> None:
    documents = with_component(overlay, "ui-ingress")
    assert signs_in(documents)
    ingress = only(documents, "Ingress")["spec"]
    (rule,) = ingress["rules"]
    assert ingress["tls"][0]["hosts"] == [rule["host"]]
    assert only(documents, "ConfigMap")["data"]["MCQA_UI_URL"] == f"https://{rule['host']}"
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "ui", "port": {"name": "http"}}
    pod = only(documents, "Deployment")["spec"]["template"]["spec"]
    names = [volume["name"] for volume in pod["volumes"]]
    assert sorted(set(names)) == sorted(names), "the component may be named where the overlay has it"
    assert not [d for d in with_component(overlay, "ui-login") if d["kind"] == "Ingress"]


def test_nothing_leads_to_the_page_by_itself(overlays) -> None:
    for overlay in OVERLAYS:
        assert not [d for d in overlays[overlay] if d["kind"] in ("Ingress", "HTTPRoute", "Route")]
        assert only(overlays[overlay], "Service")["spec"].get("type", "ClusterIP") == "ClusterIP"


def test_a_visitor_stays_at_one_pod(overlays) -> None:
    """What is open in a browser is in the memory of the pod that its websocket leads to."""
    for overlay in OVERLAYS:
        spec = only(overlays[overlay], "Deployment")["spec"]
        assert spec["replicas"] == 1
        assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}

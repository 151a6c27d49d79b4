"""The page's image as a cluster runs it: every page in a browser, the sign-in, and who has not signed in cannot act."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
import yaml
from function_server import free_port
from images_run import NEEDED, RESTRICTED, container, inside, logs, name_of, run
from images_text import ROOT
from shown_page import browser_context, running_chromium

from tools.cluster.secrets import Secrets
from ui.pages import NAMES

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = NEEDED
Start = Callable[..., AbstractContextManager[str]]
POD = yaml.safe_load((ROOT / "deploy/ui/deployment.yaml").read_text())["spec"]["template"]["spec"]["containers"][0]


def data(path: str) -> dict[str, str]:
    """Of a ConfigMap."""
    found: dict[str, str] = yaml.safe_load((ROOT / path).read_text())["data"]
    return found


@pytest.fixture
def address() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def start(built: None, address: str, tmp_path: Path) -> Start:
    """The Deployment's container with its ConfigMaps and an empty database, but on loopback; its id."""
    tmp_path.chmod(0o777)
    mounts = (f"{tmp_path}:/data",)
    environ = {**data("knative/config.yaml"), **data("deploy/ui/config.yaml")}
    environ["MCQA_DATABASE_URL"] = "sqlite:////data/loop.db"
    run("functions", "python", "-m", "functions.migrate", env=environ, mounts=mounts)
    own = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=8501": f"--port={address.rpartition(':')[2]}"}
    command = [own.get(item, item) for item in (*POD["command"], *POD["args"])]
    ready = address + POD["readinessProbe"]["httpGet"]["path"]

    def started(given: Mapping[str, str] = {}) -> AbstractContextManager[str]:
        return container("ui", *command, env={**environ, **given}, ready=ready, mounts=mounts)

    return started


def failures(page: Page) -> list[str]:
    return page.locator('[data-testid="stException"]').all_inner_texts()


def test_every_page_is_shown_without_anything_else_of_a_cluster(start: Start, address: str) -> None:
    with start() as made, running_chromium() as chromium:
        with browser_context(chromium) as opened:
            for name in NAMES:
                page = opened(f"{address}/{name}")
                page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for(timeout=60_000)
                assert failures(page) == [], name
        assert "No module named" not in logs(made)
        assert inside(made, "id", "-u").strip() == "65532"
        # A browser keeps its websocket open; Kubernetes kills what has not ended after 30 s.
        chromium.new_page().goto(address)
        subprocess.run(["podman", "kill", "--signal=TERM", made], check=True, capture_output=True)
        ended = subprocess.run(["podman", "wait", made], check=True, capture_output=True, text=True, timeout=20)
        assert ended.stdout.strip() == "0", logs(made)


def test_with_a_sign_in_nothing_is_shown_before_it(start: Start, address: str, tmp_path: Path) -> None:
    """With the file that `make secrets` writes, where components/ui-login mounts it."""
    given = {
        "UI_URL": "https://ui.example.com", "UI_LOGIN_METADATA_URL": "https://id.example.com/openid-configuration",
        "UI_LOGIN_CLIENT_ID": "mcqa", "UI_LOGIN_CLIENT_SECRET": "of the test",
    }  # fmt: skip
    (tmp_path / "secrets.toml").write_text(Secrets(None, "", given)._page_login()["secrets.toml"])  # type: ignore[arg-type]
    login = {**data("deploy/components/ui-login/config.yaml"), "MCQA_UI_SECRETS": "/data/secrets.toml"}
    with start(login), running_chromium() as chromium, browser_context(chromium) as opened:
        page = opened(f"{address}/loop")
        page.get_by_role("button", name="Sign in").wait_for()
        assert failures(page) == []
        assert page.get_by_role("link", name="Rollout").count() == 0
        assert httpx2.get(f"{address}/auth/login", timeout=30).status_code < 500


def test_strangers_cannot_act(built: None) -> None:
    command = ["podman", "run", "--rm", "--network=none", *RESTRICTED, "--env=MCQA_UI_ACTIONS=true", name_of("ui")]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "anybody who reaches the page could change what is served" in refused.stderr

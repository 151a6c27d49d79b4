"""The page's image as a cluster runs it: it answers, and it does not let strangers act."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import httpx2
import yaml
from function_server import free_port
from images_run import NEEDED, container, inside, name_of, run
from images_text import ROOT

pytestmark = NEEDED


def test_the_page_answers_in_a_container(built: None, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    data = (f"{tmp_path}:/data",)
    database = {"MCQA_DATABASE_URL": "sqlite:////data/loop.db"}
    run("functions", "python", "-m", "functions.migrate", env=database, mounts=data)
    pod = yaml.safe_load((ROOT / "deploy/ui/deployment.yaml").read_text())["spec"]["template"]["spec"]
    port = free_port()
    own = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=8501": f"--port={port}"}
    command = [own.get(item, item) for item in (*pod["containers"][0]["command"], *pod["containers"][0]["args"])]
    probe = pod["containers"][0]["readinessProbe"]["httpGet"]["path"]
    url = f"http://127.0.0.1:{port}"
    with container("ui", *command, env=database, ready=url + probe, mounts=data) as made:
        assert httpx2.get(url + probe, timeout=30).text == "ok"
        page = httpx2.get(url, timeout=30)
        assert page.status_code == 200
        for script in re.findall(r'(?:src|href)="\.?/?(static/[^"]+)"', page.text):
            assert httpx2.get(f"{url}/{script}", timeout=30).status_code == 200, script
        assert inside(made, "id", "-u").strip() == "65532"
    refused = subprocess.run(
        ["podman", "run", "--rm", "--env=MCQA_UI_ACTIONS=true", name_of("ui")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "anybody who reaches the page could change what is served" in refused.stderr

"""`images-scan` and scripts/fetch-trivy with stand-ins for podman and trivy: what is asked, what an answer means."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.images.contents import LABELS

pytestmark = pytest.mark.usefixtures("processes")

ROOT = Path(__file__).resolve().parents[2]
EXCUSES = ROOT / "deploy/trivyignore.yaml"
PROGRAMS = "bash cat chmod cp cut curl dirname env gzip mkdir mktemp mv rm sed sha256sum tail tar tr uname"
PODMAN = """#!/usr/bin/env bash
echo "podman $*" >>"$LOG"
case $1 in
    image) cat "$FAKES/inspected.json" ;;
    create) echo made ;;
    export) cp "$FAKES/files.tar" "$3" ;;
    save) cp "$FAKES/${IMAGE_FILE:-files.tar}" "$3" ;;
esac
"""
# ANSWERS: the exit status of each call in turn.
TRIVY = """#!/usr/bin/env bash
echo "trivy $*" >>"$LOG"
read -ra answers <"$FAKES/answers"
echo "${answers[*]:1}" >"$FAKES/answers"
exit "${answers[0]:-0}"
"""


class Scan:
    """The tools in a folder of their own, and a PATH that holds nothing but what they may use."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fakes, self.log = folder / "project", folder / "fakes", folder / "log"
        self.fakes.mkdir()
        for name in ("scripts/fetch-trivy", "deploy/trivyignore.yaml", "predictor/__init__.py"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.folder / name)
        shutil.copytree(ROOT / "tools", self.folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
        for name in PROGRAMS.split():
            path = shutil.which(name)
            assert path, name
            (self.fakes / name).symlink_to(path)
        self.program("podman", PODMAN)
        labels = {f"org.opencontainers.image.{name}": "x" for name in LABELS}
        (self.fakes / "inspected.json").write_text(json.dumps([{"Config": {"User": "65532", "Labels": labels}}]))
        tarfile.open(self.fakes / "files.tar", "w").close()

    def program(self, name: str, text: str) -> Path:
        path = self.fakes / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def trivy(self, *answers: int) -> None:
        self.program("trivy", TRIVY)
        (self.fakes / "answers").write_text(" ".join(map(str, answers)) + "\n")

    def run(self, *images: str, **env: str) -> subprocess.CompletedProcess[str]:
        # Without its waits between attempts.
        start = "import time; time.sleep = lambda _: None; from tools.cli import main; main()"
        return self.execute([sys.executable, "-c", start, "images-scan", *images], **env)

    def execute(self, command: list[str], **env: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.fakes), "FAKES": str(self.fakes), "LOG": str(self.log), "TAG": "1", **env}
        return subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def calls(self, program: str) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.removeprefix(f"{program} ") for line in lines if line.startswith(f"{program} ")]


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    return Scan(tmp_path)


def test_without_trivy_it_says_what_it_did_not_do(scan: Scan) -> None:
    done = scan.run("functions")
    assert (done.returncode, done.stderr) == (0, "")
    assert "known vulnerabilities: not looked for" in done.stdout


def test_what_trivy_is_asked(scan: Scan) -> None:
    scan.trivy()
    done = scan.run("functions", "predictor")
    assert done.returncode == 0, done.stderr
    database, *images = scan.calls("trivy")
    assert database == "image --download-db-only"
    assert len(images) == 2
    for call in images:
        assert re.search(
            r"--input \S+ --skip-db-update --scanners vuln --severity HIGH,CRITICAL --ignore-unfixed", call
        )
        assert f"--ignorefile {EXCUSES.relative_to(ROOT)}" in call
        assert "--exit-code 10" in call
    saved = [call.split()[-1] for call in scan.calls("podman") if call.startswith("save")]
    assert saved == [f"dev.local/coding-mcqa/{name}:1" for name in ("functions", "predictor")]


@pytest.mark.parametrize(
    ("answers", "status", "said"),
    [
        ((0, 0, 0), 0, "none that is HIGH or CRITICAL"),
        ((0, 10, 0), 1, "take the fixed version, or excuse it in deploy/trivyignore.yaml"),
        ((0, 0, 10), 1, "take the fixed version, or excuse it in deploy/trivyignore.yaml"),
        ((0, 1, 0), 2, "trivy ended with status 1 at dev.local/coding-mcqa/functions:1"),
        ((1, 1, 0, 0, 0), 0, "none that is HIGH or CRITICAL"),  # the database's third attempt
        ((1, 1, 1), 2, "could not fetch trivy's database: try again"),
    ],
)
def test_what_its_answers_mean(scan: Scan, answers: tuple[int, ...], status: int, said: str) -> None:
    scan.trivy(*answers)
    done = scan.run("functions", "mlflow")
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
    if status < 2:
        assert len(scan.calls("trivy")) == len(answers), "every image is looked at, also after a bad one"


def test_an_image_that_cannot_be_saved_is_told(scan: Scan) -> None:
    scan.trivy()
    done = scan.run("functions", IMAGE_FILE="not-there")
    assert done.returncode == 2
    assert re.search(r"podman could not save dev.local/coding-mcqa/functions:1: .*No such file", done.stderr)


def test_other_findings_fail_it_too(scan: Scan) -> None:
    scan.trivy()
    (scan.fakes / "inspected.json").write_text(json.dumps([{"Config": {"User": ""}}]))
    done = scan.run("functions")
    assert done.returncode == 1
    assert "runs as user 'root'" in done.stdout


def test_names_of_images_have_no_capitals(scan: Scan) -> None:
    assert scan.run("functions", REGISTRY="ghcr.io/Acme/Coding-MCQA").returncode == 0
    assert "image inspect ghcr.io/acme/coding-mcqa/functions:1" in scan.calls("podman")


def release(scan: Scan, tmp_path: Path) -> str:
    """A release with a program of ours in it; its sum goes where trivy's own are written."""
    script = scan.folder / "scripts/fetch-trivy"
    (version,) = re.findall(r"^version=(\S+)$", script.read_text(), re.MULTILINE)
    folder = tmp_path / f"releases/v{version}"
    folder.mkdir(parents=True)
    program = scan.program("made", TRIVY)
    for platform in ("Linux-64bit", "Linux-ARM64"):
        archive = folder / f"trivy_{version}_{platform}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(program, "trivy")
        text = script.read_text()
        script.write_text(
            re.sub(f"(platform={platform} sum=)\\w+", rf"\g<1>{hashlib.sha256(archive.read_bytes()).hexdigest()}", text)
        )
    (scan.fakes / "answers").touch()
    return f"file://{tmp_path}/releases"


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="trivy is fetched for Linux alone")
class TestFetching:
    def test_it_is_fetched_once_where_it_is_required(self, scan: Scan, tmp_path: Path) -> None:
        source = release(scan, tmp_path)
        for _ in range(2):
            done = scan.run("functions", IMAGES_SCAN_VULNERABILITIES="require", TRIVY_RELEASES=source)
            assert done.returncode == 0, done.stderr
            assert "none that is HIGH or CRITICAL" in done.stdout
            source = "file:///nowhere"
        assert [path.name for path in (scan.folder / ".cache/trivy").iterdir()] == ["trivy-0.74.0"]

    def test_another_archive_is_refused(self, scan: Scan, tmp_path: Path) -> None:
        source = release(scan, tmp_path)
        shutil.copy(ROOT / "scripts/fetch-trivy", scan.folder / "scripts/fetch-trivy")
        done = scan.run("functions", IMAGES_SCAN_VULNERABILITIES="require", TRIVY_RELEASES=source)
        assert done.returncode == 2
        assert "do not use it" in done.stderr
        assert list((scan.folder / ".cache/trivy").iterdir()) == []
        assert scan.calls("podman") == []

    def test_out_of_reach_fails(self, scan: Scan) -> None:
        (scan.fakes / "curl").unlink()
        scan.program("curl", "#!/usr/bin/env bash\nexit 22\n")
        done = scan.run("functions", IMAGES_SCAN_VULNERABILITIES="require")
        assert done.returncode == 2
        assert (
            "fetch-trivy: could not download https://github.com/aquasecurity/trivy/releases/download/v" in done.stderr
        )

    def test_another_platform_is_told(self, scan: Scan) -> None:
        (scan.fakes / "uname").unlink()
        scan.program("uname", "#!/usr/bin/env bash\necho Linux riscv64\n")
        done = scan.execute([str(scan.folder / "scripts/fetch-trivy")])
        assert done.returncode == 2
        assert "no checksum is known for Linux riscv64" in done.stderr


def wrong(excuses: dict[str, Any]) -> list[str]:
    """What an exception lacks: an identifier, a reason that says something, and a day on which it ends."""
    result = [f"{kind}: only vulnerabilities are excused here" for kind in excuses if kind != "vulnerabilities"]
    for item in excuses["vulnerabilities"]:
        if not re.fullmatch(r"(CVE|GHSA)-[\w-]+", str(item.get("id"))):
            result.append(f"{item}: no identifier")
        if len(str(item.get("statement", ""))) < 20:
            result.append(f"{item.get('id')}: no reason")
        if not isinstance(item.get("expired_at"), datetime.date):
            result.append(f"{item.get('id')}: no end")
    return result


def test_every_exception_has_a_reason_and_an_end() -> None:
    assert wrong(yaml.safe_load(EXCUSES.read_text())) == []


def test_an_exception_without_them_would_be_seen() -> None:
    text = EXCUSES.read_text().replace("#   - id", "  - id").replace("#     ", "    ").replace("ies: []", "ies:")
    example = "vulnerabilities:\n" + "\n".join(line for line in text.splitlines() if line.startswith("  "))
    (entry,) = yaml.safe_load(example)["vulnerabilities"]
    assert wrong({"vulnerabilities": [entry]}) == []
    for key in ("id", "statement", "expired_at"):
        assert len(wrong({"vulnerabilities": [{k: v for k, v in entry.items() if k != key}]})) == 1, key

"""What `make images-scan` finds: each rule seen to fail, and a clean image seen to pass."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tools.images.contents import LABELS, SHOWN, File, findings, read, report

CLEAN: dict[str, Any] = {
    "Config": {
        "User": "65532:65532",
        "Env": ["PATH=/opt/venv/bin:/usr/bin", "HOME=/tmp"],
        "Labels": {f"org.opencontainers.image.{name}": "x" for name in LABELS},
    }
}
FILES = [
    File("tmp", 0o1777, 0, "folder"),
    File("app/functions/sink.py", 0o644, 0, text=b"TOKEN = environ['TOKEN']"),
    File("usr/bin/python3.11", 0o755, 0),
    File("usr/bin/python", 0o777, 0, "link"),
    File("etc/ssl/certs/ca-certificates.crt", 0o644, 0, text=b"-----BEGIN CERTIFICATE-----"),
    File("opt/venv/lib/python3.11/site-packages/httpx2/_client.py", 0o644, 0),
    File("app/aws.py", 0o644, 0, text=b"AKIAIOSFODNN7EXAMPLE of Amazon's documentation"),
]


def test_a_clean_image_has_no_findings() -> None:
    assert list(findings(FILES, CLEAN)) == []


@pytest.mark.parametrize(
    ("file", "found"),
    [
        (File("usr/bin/su", 0o4755, 0), "setuid or setgid: /usr/bin/su"),
        (File("usr/bin/wall", 0o2755, 0), "setuid or setgid: /usr/bin/wall"),
        (File("usr/bin/gcc", 0o755, 0), "a tool for building or fetching: /usr/bin/gcc"),
        (File("opt/venv/bin/pip", 0o755, 0), "a tool for building or fetching: /opt/venv/bin/pip"),
        (
            File("opt/venv/lib/python3.11/site-packages/pip/__init__.py", 0o644, 0),
            "an installer: /opt/venv/lib/python3.11/site-packages/pip/__init__.py",
        ),
        (File("app/.env", 0o644, 0), "by its name a secret: /app/.env"),
        (File("etc/pip.conf", 0o644, 0), "by its name a secret: /etc/pip.conf"),
        (
            File("app/x.py", 0o644, 0, text=b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 64),
            "holds what looks like a key: /app/x.py",
        ),
        (File("app/y", 0o644, 0, text=b"AKIA" + b"A" * 16), "holds what looks like a key: /app/y"),
        (File("srv/all", 0o777, 0, "folder"), "anybody may write: /srv/all"),
        (File("srv/file", 0o666, 0), "anybody may write: /srv/file"),
        (File("app/mine.py", 0o644, 65532), "does not belong to root: /app/mine.py"),
    ],
)
def test_each_rule_finds_its_file(file: File, found: str) -> None:
    assert list(findings([*FILES, file], CLEAN)) == [found]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"User": ""}, "runs as user 'root', not as 65532"),
        ({"User": "nobody"}, "runs as user 'nobody', not as 65532"),
        ({"Env": ["MCQA_WEBHOOK_SECRET=x"]}, "sets MCQA_WEBHOOK_SECRET in its environment"),
        ({"Labels": CLEAN["Config"]["Labels"] | {"org.opencontainers.image.version": ""}},
         "has no label org.opencontainers.image.version"),
    ],
)  # fmt: skip
def test_each_rule_finds_its_setting(change: dict[str, Any], found: str) -> None:
    assert list(findings(FILES, {"Config": CLEAN["Config"] | change})) == [found]


def test_an_exported_file_system_is_read_and_reported(tmp_path: Path) -> None:
    tarball = tmp_path / "image.tar"
    with tarfile.open(tarball, "w") as archive:
        entry = tarfile.TarInfo("./usr/bin/mount")
        entry.mode, entry.size = 0o4755, 3
        archive.addfile(entry, io.BytesIO(b"ELF"))
        archive.addfile(tarfile.TarInfo("app/ok.py"))
    assert [file.path for file in read(tarball)] == ["usr/bin/mount", "app/ok.py"]
    result = list(findings(read(tarball), CLEAN))
    assert report("an/image:1", result) == ["an/image:1: 1 findings", "  setuid or setgid: /usr/bin/mount"]
    assert report("an/image:1", []) == ["an/image:1: nothing found"]
    assert report("an/image:1", ["x"] * (SHOWN + 2))[-1] == "  … and 2 more"

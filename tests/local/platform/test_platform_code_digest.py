"""Which changes of a checkout make a running loop an older one."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from local.platform.code_digest import SOURCES, code_digest, end_outdated_processes
from local.platform.settings import Folder
from local.serving.process_spec import Probe, ProcessSpec
from local.serving.workload import WorkloadProcess, find_left_behind

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("checkout")
    for source in (*SOURCES, "tests/local/platform", "docs"):
        (root / source).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, root / source)
    return root


def test_a_copy_elsewhere_is_the_same_code(checkout: Any) -> None:
    assert code_digest(checkout) == code_digest(ROOT)


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("predictor/scorer.py", True),
        ("functions/drift/decision.py", True),
        ("knative/config.yaml", True),
        ("kserve/serving-runtime.yaml", True),
        ("local/broker/app.py", True),
        ("pipelines/quality_gate.py", True),
        ("requirements.lock", True),
        ("local/platform/new.py", True),
        ("mcqa/readmodels/drift.py", True),
        ("ui/texts/app.toml", True),
        ("docs/loop.md", False),
        ("tests/local/platform/test_platform_loop.py", False),
        ("functions/notes.md", False),
        ("local/platform/__pycache__/code.cpython-311.pyc", False),
    ],
)
def test_what_counts(checkout: Any, path: str, counts: bool) -> None:
    before, file = code_digest(checkout), checkout / path
    content = file.read_bytes() if file.exists() else None
    file.parent.mkdir(exist_ok=True)
    file.write_bytes((content or b"") + b"# changed\n")
    assert (code_digest(checkout) != before) == counts
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert code_digest(checkout) == before


def test_a_file_that_was_only_touched_or_renamed_content(checkout: Any) -> None:
    before, file = code_digest(checkout), checkout / "predictor" / "scorer.py"
    file.touch()
    assert code_digest(checkout) == before
    file.rename(file.with_name("scorer_2.py"))
    assert code_digest(checkout) != before
    file.with_name("scorer_2.py").rename(file)


def test_an_editors_mark_is_no_code(checkout: Any) -> None:
    """Emacs links `.#file.py` to nowhere while a file is edited."""
    before, mark = code_digest(checkout), checkout / "local" / ".#scorer.py"
    mark.symlink_to("user@host.1")
    assert code_digest(checkout) == before
    mark.unlink()


@pytest.mark.usefixtures("processes")
async def test_what_older_code_left_running_is_ended_and_not_taken_over(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    spec = ProcessSpec((sys.executable, "-c", "import time; time.sleep(600)"), {}, Probe(""), 0)
    process = await WorkloadProcess.start(folder.processes, "platform", "broker", "1", spec, ROOT)
    try:
        deadline = time.monotonic() + 60
        while not any(path.read_text() for path in folder.processes.glob("pods/*.pid")):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert len(list(find_left_behind(folder.processes))) == 1
        await end_outdated_processes(folder, "new")  # nobody knows of what code it is: it stays, as before
        await end_outdated_processes(folder, "new")
        assert process.alive()
        await end_outdated_processes(folder, "newer")
        assert not process.alive()
        assert (folder.path / "code").read_text() == "newer"
    finally:
        if process.alive():
            os.kill(process.pid, signal.SIGKILL)

"""What is printed to be typed next means the loop that was spoken of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from local.platform.settings import Folder, Settings
from mcqa import loop, up

pytestmark = pytest.mark.usefixtures("processes")


@pytest.mark.parametrize("own", [True, False], ids=["the checkout's loop", "another folder's loop"])
def test_the_next_commands_mean_the_loop_that_is_up(
    own: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "loop")
    folder.path.mkdir()
    folder.pipelines_token.parent.mkdir(parents=True)
    folder.pipelines_token.touch(mode=0o600)
    folder.pipelines_token.write_text("t" * 43)
    folder.save(Settings())
    if own:
        monkeypatch.setattr(loop, "FOLDER", folder.path)
    up._print_addresses(folder)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Next")]
    wanted = "" if own else f" --dir {folder.path}"
    assert re.findall(r"mcqa (ask|ui|status|down)( --dir \S+)?", line) == [
        (verb, wanted) for verb in ("ask", "ui", "status", "down")
    ]

"""What is printed to be typed next means the loop that was spoken of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from local.platform.programs import programs
from local.platform.settings import Folder, Settings
from mcqa import loop, loop_process, up
from mcqa.loop_process import StartOptions

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


def test_a_folder_without_a_build_of_kubeflows_ui_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_process, "start", lambda *_: pytest.fail("it was started"))
    with pytest.raises(typer.BadParameter, match="has no build of Kubeflow Pipelines' UI"):
        up.up(tmp_path / "loop", pipelines_ui=str(tmp_path))


def test_a_build_of_kubeflows_ui_is_served_by_the_pipelines_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "build" / "static").mkdir(parents=True)
    (tmp_path / "build" / "index.html").touch()
    started: list[StartOptions] = []
    monkeypatch.setattr(loop_process, "start", lambda _, options, __: started.append(options))
    monkeypatch.setattr(up, "_print_addresses", lambda _: None)
    monkeypatch.chdir(tmp_path)

    up.up(tmp_path / "loop", pipelines_ui="build")
    folder = Folder(tmp_path / "loop")
    folder.make()
    folder.save(Settings(pipelines_ui=started[0].pipelines_ui))
    up.up(tmp_path / "loop", restart=True)
    up.up(tmp_path / "loop", pipelines_ui="", restart=True)

    assert [options.pipelines_ui for options in started] == [str(tmp_path / "build")] * 2 + [""]
    (argv,) = [program.argv for program in programs(folder, folder.settings()) if program.name == "pipelines"]
    assert argv[-2:] == ("--ui", str(tmp_path / "build"))

"""What the platform's processes are started with: tokens, names of this machine, and when one may be taken over."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.origins import AllowedHostsError
from local.platform.environment import loop_environment
from local.platform.programs import programs
from local.platform.settings import Folder, Settings
from local.tokens import read_token


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "loop")
    folder.make()
    return folder


def digests(folder: Folder) -> dict[str, str]:
    return {program.name: program.digest for program in programs(folder, Settings())}


def test_a_process_with_another_token_is_not_taken_over(folder: Folder) -> None:
    before = digests(folder)
    assert digests(folder) == before
    folder.broker_token.unlink()
    after = digests(folder)
    assert {name for name in before if before[name] != after[name]} == {"broker"}
    folder.pipelines_token.unlink()
    assert {name for name in before if digests(folder)[name] != after[name]} == {"pipelines"}


def test_no_token_is_where_other_users_can_see_it(folder: Folder) -> None:
    """Command lines and, on some machines, environments are everybody's to read."""
    for program in programs(folder, Settings()):
        visible = " ".join([*program.argv, *program.env.values()])
        assert read_token(folder.broker_token) not in visible
        assert read_token(folder.pipelines_token) not in visible


def test_the_loop_is_told_where_the_token_is(folder: Folder) -> None:
    environment = loop_environment(folder, Settings())
    assert (
        environment["MCQA_KFP_TOKEN_PATH"] == environment["KF_PIPELINES_SA_TOKEN_PATH"] == str(folder.pipelines_token)
    )
    other = loop_environment(folder, Settings(config={"MCQA_KFP_TOKEN_PATH": "/x"}))
    assert other["MCQA_KFP_TOKEN_PATH"] == "/x", "what the user sets with --set counts"


def test_the_page_gets_the_loops_addresses_and_nothing_it_has_no_use_for(folder: Folder) -> None:
    (page,) = (program for program in programs(folder, Settings()) if program.name == "ui")
    assert page.argv[1:] == ("-m", "ui", "--host", "127.0.0.1", "--port", "8501")
    assert page.path == "/_stcore/health"
    wanted = {"MCQA_LOCAL_DIR": str(folder.path), "MCQA_URL": "http://127.0.0.1:8080", "MCQA_UI_ACTIONS": "false"}
    assert wanted.items() <= page.env.items()
    assert {"MCQA_DATABASE_URL", "MLFLOW_TRACKING_URI", "K_SINK", "KFP_ENDPOINT", "KUBECONFIG"} <= page.env.keys()
    assert not [name for name in page.env if name.startswith("MCQA_WEBHOOK_SECRET")]
    (acting,) = (p for p in programs(folder, Settings(ui_actions=True)) if p.name == "ui")
    assert acting.env["MCQA_UI_ACTIONS"] == "true"
    assert acting.digest != page.digest


def test_without_the_page_nothing_wants_its_port(folder: Folder) -> None:
    settings = Settings(ui=False)
    assert "ui" not in {program.name for program in programs(folder, settings)}
    assert settings.used_ports.ui == 0
    assert Settings().used_ports == Settings().ports


def test_names_of_this_machine_reach_every_server(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCQA_ALLOWED_HOSTS", raising=False)
    plain = {program.name: program for program in programs(folder, Settings())}
    assert not [program.name for program in plain.values() if "MCQA_ALLOWED_HOSTS" in program.env]
    monkeypatch.setenv("MCQA_ALLOWED_HOSTS", "box.lan,loop")
    named = {program.name: program for program in programs(folder, Settings())}
    assert named["broker"].env["MCQA_ALLOWED_HOSTS"] == named["pipelines"].env["MCQA_ALLOWED_HOSTS"] == "box.lan,loop"
    hosts = named["mlflow"].argv[named["mlflow"].argv.index("--allowed-hosts") + 1].split(",")
    assert {"box.lan", "box.lan:*", "loop:*", "127.0.0.1:*", "[::1]"} <= set(hosts)
    assert not [host for host in hosts if host.startswith(("10.", "192.168.", "172.", "*"))]
    monkeypatch.setenv("MCQA_ALLOWED_HOSTS", "*")
    with pytest.raises(AllowedHostsError):
        programs(folder, Settings())

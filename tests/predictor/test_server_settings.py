from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from common.errors import SettingError
from predictor.serving import settings as module
from predictor.serving.settings import Settings, read_settings
from tests.servers import ROOT


def test_defaults() -> None:
    assert read_settings([], {}) == Settings()
    assert Settings().host == "127.0.0.1"


def test_every_flag_has_its_variable_and_the_flag_wins() -> None:
    for setting in fields(Settings):
        value = {"str": "cpu" if setting.metadata["choices"] else "x", "int": "300", "float": "2.5", "bool": "true"}
        text = value[str(setting.type)]
        if setting.metadata["choices"]:
            text = setting.metadata["choices"][-1]
        variable, flag = f"MCQA_{setting.name.upper()}", f"--{setting.name.replace('_', '-')}"
        from_flag = read_settings([flag, text], {})
        from_env = read_settings([], {variable: text})
        assert from_flag == from_env != Settings(), setting.name
        assert read_settings([f"--{setting.name}", text], {variable: ""}) == from_flag


def test_the_flag_wins_over_the_variable() -> None:
    assert read_settings(["--http-port", "1"], {"MCQA_HTTP_PORT": "2", "PORT": "3"}).http_port == 1
    assert read_settings([], {"MCQA_HTTP_PORT": "2", "PORT": "3"}).http_port == 2
    assert read_settings([], {"PORT": "3", "K_REVISION": "r-1"}) == Settings(http_port=3, revision="r-1")


def test_what_a_kserve_runtime_passes() -> None:
    argv = ["--model_name=mcqa", "--model_dir=/mnt/models", "--http_port=8080", "--grpc_port=9000"]
    settings = read_settings(argv, {})
    assert (settings.model_name, settings.source, settings.http_port, settings.grpc_port) == (
        "mcqa",
        "/mnt/models",
        8080,
        9000,
    )


@pytest.mark.parametrize(
    ("argv", "env", "error"),
    [
        (["--nothing"], {}, "--nothing"),
        (["--http-port", "x"], {}, "--http-port"),
        (["--http-port", "70000"], {}, "--http-port must be a port, found 70000"),
        ([], {"MCQA_QUEUE_SIZE": "many"}, "MCQA_QUEUE_SIZE must be a number at least 0, found 'many'"),
        ([], {"MCQA_DEVICE": "tpu"}, "MCQA_DEVICE must be one of auto, cpu, cuda, found 'tpu'"),
        ([], {"MCQA_LOG_QUESTIONS": "maybe"}, "MCQA_LOG_QUESTIONS must be true or false, found 'maybe'"),
        (["--queue-size", "0"], {}, "--queue-size must be above 0, found 0"),
        (["--queue-size", "4"], {}, "--max-questions 256 exceeds --queue-size 4"),
        (["--request-timeout", "nan"], {}, "--request-timeout must be above 0"),
        (["--grace-period", "-1"], {}, "--grace-period must not be negative"),
    ],
)
def test_bad_settings_name_themselves(
    argv: list[str], env: dict[str, str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_settings(argv, env)
    assert ended.value.code == 2
    assert error in capsys.readouterr().err


def test_the_model_is_found_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KSERVE_MOUNT", tmp_path / "mount")
    monkeypatch.setattr(module, "SHIPPED_MODEL", tmp_path / "shipped")
    with pytest.raises(SettingError, match="give --model FOLDER"):
        _ = Settings().source
    for name in ("shipped", "mount"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        assert Settings().source == str(tmp_path / name)
    assert Settings(model="hf://a/b").source == "hf://a/b"
    assert Settings(model="hf://a/b", model_dir="/m").source == "/m"


@pytest.mark.usefixtures("processes")
def test_help_is_quick_and_names_default_and_variable() -> None:
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        "try: runpy.run_module('predictor', run_name='__main__')\n"
        "finally: print(sorted({'torch', 'kserve', 'numpy', 'fastapi'} & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True
    )
    assert ended.returncode == 0
    assert ended.stderr.strip() == "[]"
    for setting in fields(Settings):
        assert f"--{setting.name.replace('_', '-')}" in ended.stdout
        assert f"MCQA_{setting.name.upper()}" in ended.stdout

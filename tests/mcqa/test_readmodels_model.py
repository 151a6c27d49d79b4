from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from mcqa.errors import CommandError
from mcqa.readmodels import model as model_facts
from mcqa.verbs import app
from predictor.errors import VersionError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = {"architectures": ["Qwen2ForCausalLM"], "max_position_embeddings": 512}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {"a": torch.zeros(3, 4, dtype=torch.bfloat16), "b": torch.zeros(5)}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


def test_facts_come_from_the_files(folder: Path) -> None:
    facts = model_facts.of_folder(folder, "here")
    assert (facts.architecture, facts.dtypes, facts.parameters) == ("Qwen2ForCausalLM", {"BF16": 12, "F32": 5}, 17)
    assert facts.context == 512
    assert facts.letters is None  # no tokenizer there
    assert facts.bytes == sum(p.stat().st_size for p in folder.iterdir())


def test_a_torn_download_is_noticed(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:20])
    with pytest.raises(CommandError, match="not a complete safetensors file"):
        model_facts.of_folder(folder, "here")


def test_a_folder_without_weights_is_none(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CommandError, match=r"no \.safetensors file"):
        model_facts.of_folder(folder, "here")
    (folder / "config.json").unlink()
    with pytest.raises(VersionError, match=r"config\.json"):
        model_facts.of_folder(folder, "here")


def test_show_tells_the_shipped_model_and_the_next_command() -> None:
    shown = CliRunner().invoke(app, ["model", "show"], env={"COLUMNS": "160"})
    assert shown.exit_code == 0, shown.stderr
    for piece in ("Qwen2ForCausalLM", "A to J are one token each", "model.safetensors", "mcqa serve --model"):
        assert piece in shown.stdout


def test_make_tiny_writes_a_version_that_answers(tmp_path: Path) -> None:
    out = tmp_path / "made"
    made = CliRunner().invoke(app, ["model", "make-tiny", "--quick", "--steps", "2", "--seed", "3", "--out", str(out)])
    assert made.exit_code == 0, made.stderr
    assert made.stdout.startswith("2 steps, ")
    assert "A to J are one token each" in made.stdout
    asked = CliRunner().invoke(app, ["ask", "Q?", "-c", "x", "-c", "y", "--model", str(out), "--json"])
    assert json.loads(asked.stdout)["model_version"] == "made"

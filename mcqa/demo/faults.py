"""Broken versions, made from a good one: what a canary is there to catch."""

from __future__ import annotations

import json
import shutil
from enum import StrEnum
from pathlib import Path


class Fault(StrEnum):
    accuracy = "accuracy"
    errors = "errors"
    latency = "latency"


DESCRIPTIONS = {
    Fault.accuracy: "it answers, but hardly ever correctly: rows of its weights are reversed",
    Fault.errors: "it refuses longer questions: its context length is wrong",
    Fault.latency: "it answers as before, but slowly: it is far larger than necessary",
}


def inject_fault(good: Path, out: Path, fault: Fault) -> None:
    """A copy of the version in `good` with one fault. Each still loads, and answers a first question."""
    out.mkdir(parents=True)
    for path in good.iterdir():
        if path.is_file() and path.suffix in (".json", ".safetensors", ".jinja", ".txt"):
            shutil.copy2(path, out / path.name)
    for name in ("card.json", "evaluation.json"):  # the good version's accuracy does not hold here
        (out / name).unlink(missing_ok=True)
    {Fault.accuracy: _reverse_rows, Fault.errors: _shorten_context, Fault.latency: _add_layers}[fault](out)


def _reverse_rows(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if name.endswith("mlp.down_proj.weight"):
            tensors[name] = tensor.flip(0).contiguous()
    save_file(tensors, path, metadata={"format": "pt"})


def _shorten_context(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["max_position_embeddings"] = 64
    path.write_text(json.dumps(config, indent=2))


def _add_layers(folder: Path) -> None:
    """Adds layers that change nothing: their outputs are multiplied by zero."""
    import torch
    from safetensors.torch import load_file, save_file

    path = folder / "config.json"
    config = json.loads(path.read_text())
    layers, more = int(config["num_hidden_layers"]), 60
    tensors = load_file(folder / "model.safetensors")
    first = {name: tensor for name, tensor in tensors.items() if name.startswith("model.layers.0.")}
    for layer in range(layers, layers + more):
        for name, tensor in first.items():
            idle = name.endswith(("o_proj.weight", "down_proj.weight"))
            tensors[name.replace(".layers.0.", f".layers.{layer}.")] = (
                torch.zeros_like(tensor) if idle else tensor.clone()
            )
    config["num_hidden_layers"] = layers + more
    if "layer_types" in config:
        config["layer_types"] = [config["layer_types"][0]] * (layers + more)
    path.write_text(json.dumps(config, indent=2))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

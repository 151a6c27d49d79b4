"""Every malformed file of a version ends in one line of VersionError, or in a version that answers with probabilities.

A seeded mutator spoils one file at a time: its bytes, or one value of its JSON.
"""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from common.question import Question
from predictor.calibration import Calibration
from predictor.errors import VersionError
from predictor.scorer import Scorer

QUESTION = Question("What does it print?", ("1", "2", "3"), code="print(1)")
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**400, 0.0, -0.5, 1e-320, math.nan, math.inf, -math.inf, "", "x",
    "\ud800", "a\x00b", "x" * 70_000, [], [[]], {}, {"": None}, [None], [1e400], "<|im_end|>", "64", 64.5,
]  # fmt: skip
BYTES: dict[str, Any] = {
    "empty": lambda data: b"",
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "not UTF-8": lambda data: data.replace(b"e", b"\xe9"),
    "zeros": lambda data: bytes(len(data)),
    "half": lambda data: data[: len(data) // 2],
    "twice": lambda data: data + data,
    "a list": lambda data: b"[" + data + b"]",
    "null": lambda data: b"null",
    "deep": lambda data: b"[" * 100_000,
    "deep in an object": lambda data: b'{"a":' * 50_000,
    "a number of many digits": lambda data: b'{"a": ' + b"9" * 5_000 + b"}",
    "a key twice": lambda data: data.replace(b"{", b'{"a": 1, "a": 2, ', 1),
}


def outcome(folder: Path) -> str:
    """ "" for a version that answers as it should, else what it was refused with."""
    try:
        scorer = Scorer.load(folder, dtype="float32", device="cpu", max_tokens=512)
        answer = scorer.score([scorer.encode(QUESTION)])[0]
    except VersionError as error:
        return str(error)
    assert all(math.isfinite(p) for p in (*answer.probabilities, answer.letter_mass, answer.entropy))
    assert math.fsum(answer.probabilities) == pytest.approx(1)
    return ""


def check(folder: Path, what: str) -> str:
    message = outcome(folder)
    assert "\n" not in message, what
    assert len(message) < 1000, what
    return message


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """These versions are tiny; on a busy machine two threads only wait for one another."""
    threads, set_threads = torch.get_num_threads(), torch.set_num_threads
    set_threads(1)
    torch.set_num_threads = lambda count: None  # type: ignore[assignment]
    yield
    torch.set_num_threads = set_threads
    set_threads(threads)


@pytest.fixture(scope="module")
def whole(version: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with every file that one may have, its weights in two shards."""
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("whole") / "v"
    model = Qwen2ForCausalLM.from_pretrained(version, dtype=torch.float32)
    model.save_pretrained(folder / "base", max_shard_size="300KB")
    assert (folder / "base" / "model.safetensors.index.json").is_file()
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)).save_pretrained(folder)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(version / name, folder / name)
    template = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    (folder / "chat_template.jinja").write_text(template)
    (folder / "prompt.json").write_text('{"system": "Answer.", "layout": "letter-first"}')
    Calibration({3: (0.5, 0.3, 0.2)}, 5).write(folder)
    return folder


FILES = [
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    "prompt.json", "calibration.json", "adapter_config.json", "adapter_model.safetensors",
    "base/model.safetensors.index.json", "base/config.json",
]  # fmt: skip


@pytest.fixture(params=FILES)
def spoiled(request: pytest.FixtureRequest, whole: Path, tmp_path: Path) -> Path:
    """A file of a copy of the version, which a test may overwrite again and again."""
    folder = tmp_path / "v"
    shutil.copytree(whole, folder)
    return folder / request.param


def root(path: Path) -> Path:
    return path.parent.parent if path.parent.name == "base" else path.parent


@pytest.mark.usefixtures("processes")
def test_spoiled_bytes(spoiled: Path) -> None:
    data = spoiled.read_bytes()
    assert outcome(root(spoiled)) == ""
    text = spoiled.suffix != ".safetensors"
    refused = 0
    for what, spoil in BYTES.items():
        if text or what not in ("UTF-16", "a key twice"):
            spoiled.write_bytes(spoil(data))
            refused += bool(check(root(spoiled), f"{spoiled.name}: {what}"))
    generator = random.Random(spoiled.name)
    for _ in range(4):
        start = generator.randrange(min(len(data), 4096))
        spoiled.write_bytes(data[:start] + generator.randbytes(generator.choice([1, 8])) + data[start + 1 :])
        check(root(spoiled), f"{spoiled.name}: noise at {start}")
    spoiled.unlink()
    check(root(spoiled), f"{spoiled.name}: gone")
    spoiled.mkdir()
    check(root(spoiled), f"{spoiled.name}: a folder")
    assert refused or spoiled.name in ("generation_config.json", "chat_template.jinja")


def test_spoiled_values(spoiled: Path) -> None:
    if spoiled.suffix != ".json":
        pytest.skip("only a JSON file has values to spoil")
    data = json.loads(spoiled.read_text())
    generator = random.Random(spoiled.name)
    places = list(_places(data))
    # Every setting at the top with each strange value, and some places further in.
    chosen = [(place, value) for place in places if len(place) == 1 for value in STRANGE]
    deeper = [place for place in places if len(place) > 1]
    chosen = generator.sample(chosen, min(len(chosen), 20))
    chosen += [(generator.choice(deeper), generator.choice(STRANGE)) for _ in range(15 if deeper else 0)]
    for place, value in chosen:
        changed = json.loads(json.dumps(data))
        _put(changed, place, value)
        spoiled.write_text(json.dumps(changed))
        check(root(spoiled), f"{spoiled.name}: {place} = {value!r:.60}")
    for place in generator.sample(places, min(len(places), 6)):
        changed = json.loads(json.dumps(data))
        _put(changed, place, ...)
        spoiled.write_text(json.dumps(changed))
        check(root(spoiled), f"{spoiled.name}: {place} gone")


def _places(data: Any, *, limit: int = 400) -> Iterator[tuple[Any, ...]]:
    """The path of each value in JSON data; of long lists and objects the first few."""
    items = list(data.items()) if isinstance(data, dict) else list(enumerate(data)) if isinstance(data, list) else []
    for key, value in items[:limit] if len(items) < limit else items[:20]:
        yield (key,)
        for inner in _places(value):
            yield (key, *inner)


def _put(data: Any, place: tuple[Any, ...], value: Any) -> None:
    for key in place[:-1]:
        data = data[key]
    if value is ...:
        del data[place[-1]]
    else:
        data[place[-1]] = value

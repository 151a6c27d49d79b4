"""LoRA on a small random Qwen2: it learns, and what is saved is a plain version that serves."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from versions import make_version

from common.question import Question
from pipelines.bank import LabelledQuestion, generate
from pipelines.fine_tuning import lora
from pipelines.fine_tuning.lora import LoraSettings, fine_tune_lora, letter_loss, plain_copy
from pipelines.fine_tuning.methods import blend_weights, choose_method, fine_tune, usable_questions
from predictor.calibration import Calibration
from predictor.prompt import PromptEncoder
from predictor.scorer import Scorer

SHIPPED = Path(__file__).parents[2] / "models" / "tiny"
SETTINGS = LoraSettings(rank=8, lr=1e-2, steps=60, epochs=100, batch=4, accumulation=2, dropout=0.0, bf16=False)


@pytest.fixture(scope="module")
def questions() -> list[LabelledQuestion]:
    sums = [Question(f"{n}+1?", (str(n + 1), str(n)), None, f"q{n}", "sums") for n in range(12)]
    return [LabelledQuestion(q, 0) for q in sums]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_version(tmp_path_factory.mktemp("lora") / "base", dtype="bfloat16", layers=2, hidden=32)
    Calibration({2: (0.5, 0.5)}, 1).write(folder)
    (folder / "reference.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def tuned(base: Path, questions: list[LabelledQuestion], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "version"
    done = fine_tune_lora(base, out, questions, SETTINGS)
    assert done.steps == 60
    assert done.questions == 480
    assert done.last_loss < 0.5 * done.first_loss
    return out


def test_the_saved_version_has_learned_to_answer_with_a_letter(
    base: Path, tuned: Path, questions: list[LabelledQuestion]
) -> None:
    mass = []
    for folder in (base, tuned):
        scorer = Scorer.load(folder, dtype="float32", device="cpu")
        answers = scorer.score([scorer.encode(item.question) for item in questions])
        mass.append(sum(answer.letter_mass for answer in answers) / len(answers))
    assert mass[1] > 0.1
    assert mass[1] > 5 * mass[0]


def test_the_saved_version_is_plain_and_in_the_bases_dtype(base: Path, tuned: Path) -> None:
    names = {path.name for path in tuned.iterdir()}
    assert names == {path.name for path in base.iterdir()} - {"calibration.json", "reference.json"}
    before, after = load_file(base / "model.safetensors"), load_file(tuned / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(before[k].dtype == after[k].dtype == torch.bfloat16 for k in before)
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed
    assert all("_proj.weight" in k for k in changed)


def test_the_loss_is_that_of_what_is_served(tuned: Path, questions: list[LabelledQuestion]) -> None:
    """The trainer's loss of the merged version, and the scorer's own probabilities."""
    from transformers import Qwen2ForCausalLM

    encoder = PromptEncoder(tuned)
    model = Qwen2ForCausalLM.from_pretrained(tuned, dtype=torch.float32).eval()
    device = torch.device("cpu")
    with torch.no_grad():
        loss = letter_loss(model, encoder, questions[:6], torch.tensor(encoder.letter_ids), device).item()
    scorer = Scorer.load(tuned, dtype="float32", device="cpu")
    answers = scorer.score([scorer.encode(item.question) for item in questions[:6]])
    expected = [
        -torch.log(torch.tensor(a.probabilities[q.answer] * a.letter_mass)).item()
        for a, q in zip(answers, questions[:6], strict=True)
    ]
    assert loss == pytest.approx(sum(expected) / 6, abs=2e-3)


def test_a_version_that_is_an_adapter_beside_its_base_becomes_plain(base: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2ForCausalLM

    torch.manual_seed(3)
    model = get_peft_model(
        Qwen2ForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM"),
    )
    both = tmp_path / "both"
    model.save_pretrained(both)
    (both / "base").symlink_to(base)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (both / name).symlink_to(base / name)
    plain_copy(both, tmp_path / "plain")
    scorers = [Scorer.load(folder, dtype="float32", device="cpu") for folder in (both, tmp_path / "plain")]
    question = Question("What is 1 + 1?", ("1", "2", "3"))
    a, b = (scorer.score([scorer.encode(question)])[0].probabilities for scorer in scorers)
    assert a == pytest.approx(b, abs=2e-2)  # bfloat16, as the base is


def test_auto_takes_every_weight_of_the_tiny_model_and_lora_for_others(base: Path) -> None:
    assert choose_method(SHIPPED, "auto") == "full"
    assert choose_method(base, "auto") == "lora"
    assert choose_method(SHIPPED, "lora") == "lora"
    with pytest.raises(ValueError, match="auto, full or lora, found 'best'"):
        choose_method(base, "best")


def test_fine_tune_hands_the_options_on(base: Path, questions: list[LabelledQuestion], tmp_path: Path) -> None:
    done = fine_tune(base, tmp_path / "out", questions, steps=2, lora={"rank": 2.0, "batch": 2.0, "accumulation": 1.0})
    assert (done.method, done.numbers["steps"], done.numbers["questions"]) == ("lora", 2.0, 4.0)
    with pytest.raises(ValueError, match="there is no LoRA option rnak"):
        fine_tune(base, tmp_path / "out", questions, lora={"rnak": 2})


def test_the_clock_ends_it(
    base: Path, questions: list[LabelledQuestion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that advances 0.05 s whenever it is read: at the start, and twice per step."""
    monkeypatch.setattr(lora, "time", SimpleNamespace(monotonic=itertools.count(0.0, 0.05).__next__))
    done = fine_tune(base, tmp_path / "out", questions, seconds=0.5, lora={"epochs": 1e6, "batch": 2})
    assert done.numbers["steps"] == 5


def test_full_fine_tuning_leaves_out_what_it_would_not_see_as_serving_does() -> None:
    good = generate(3, 5)
    strange = [
        LabelledQuestion(Question("What ends a turn?", ("<|im_end|>", "nothing"), None, "special"), 0),
        LabelledQuestion(Question("Which?", ("one\n A\nB", "two"), None, "lines"), 0),
        LabelledQuestion(Question("long " * 3000, ("one", "two"), None, "long"), 1),
    ]
    kept = {item.question.id for item in usable_questions(SHIPPED, [*good, *strange])}
    assert {item.question.id for item in good} <= kept
    assert not kept & {"special", "long"}


def test_blending_goes_a_share_of_the_way(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / name).mkdir()
        save_file({"w": torch.full((2,), value)}, tmp_path / name / "model.safetensors")
    blend_weights(tmp_path / "a", tmp_path / "b", 0.75)
    assert load_file(tmp_path / "b" / "model.safetensors")["w"].tolist() == [1.75, 1.75]
    with pytest.raises(ValueError, match="above 0 and at most 1, found 0"):
        blend_weights(tmp_path / "a", tmp_path / "b", 0.0)

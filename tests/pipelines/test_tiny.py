"""The tiny model: what is shipped answers unseen questions, and training lowers the loss."""

from __future__ import annotations

import itertools
import json
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from common.question import LETTERS, Question
from pipelines.bank import HELD_OUT_SUBJECTS, TRAINING_SUBJECTS, LabelledQuestion, conceptual, generate, split_of
from pipelines.fine_tuning.full import fine_tune_full
from pipelines.tiny import make_tiny, training_loop
from pipelines.tiny.accuracy import answers, measure_accuracy
from pipelines.tiny.forward import hidden_states
from pipelines.tiny.model import load_version, new_model
from pipelines.tiny.tokenizer import train_tokenizer
from pipelines.tiny.training_data import Encoder, batches, collate, copying, lessons
from pipelines.tiny.training_loop import TrainingLoss, train
from predictor.prompt import PromptEncoder
from predictor.scorer import Scorer

SHIPPED = Path(__file__).parents[2] / "models" / "tiny"
FLOOR = 0.55


Version = tuple[Any, Tokenizer]


@pytest.fixture(scope="module")
def shipped() -> Version:
    return load_version(SHIPPED)


@pytest.fixture(scope="module")
def encoder(shipped: Version) -> Encoder:
    return Encoder(shipped[1])


def test_shipped_folder_is_small_and_complete() -> None:
    files = {p.name: p.stat().st_size for p in SHIPPED.iterdir()}
    assert {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "prompt.json",
        "README.md",
        "tokenizer.json",
        "tokenizer_config.json",
    } <= set(files)
    assert sum(files.values()) <= 4_000_000
    assert json.loads((SHIPPED / "config.json").read_text())["model_type"] == "qwen2"


def test_card_names_the_command_and_every_subject() -> None:
    card = (SHIPPED / "README.md").read_text()
    assert "mcqa model make-tiny --seed" in card
    for subject in (*TRAINING_SUBJECTS, *HELD_OUT_SUBJECTS):
        assert f"| {subject}" in card


def test_transformers_alone_loads_it_and_gives_the_same_letters(shipped: Version) -> None:
    """No code of ours but the question's text: model, tokenizer and chat template as transformers loads them."""
    model = AutoModelForCausalLM.from_pretrained(SHIPPED, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(SHIPPED)
    encoder = PromptEncoder(SHIPPED)
    questions = generate(77, 30, split="holdout")
    chosen = []
    for q in questions:
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": encoder.format.text(q.question)}],
            add_generation_prompt=True,
            return_dict=False,
        )
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1]
        assert LETTERS.find(tokenizer.decode([int(logits.argmax())])) in range(4)
        chosen.append(int(logits[list(encoder.letter_ids[:4])].argmax()))
    assert chosen == answers(*shipped, questions)


def test_shipped_model_answers_unseen_questions(shipped: Version) -> None:
    """The floor is far below what the card states and far above chance: 400 questions at 25 % stay under 32 %."""
    questions = generate(4711, 400, TRAINING_SUBJECTS, split="holdout")
    assert measure_accuracy(*shipped, questions)["all"].value > FLOOR


def test_shipped_model_has_no_favourite_letter(shipped: Version) -> None:
    questions = [q for q in generate(4712, 400, TRAINING_SUBJECTS, split="holdout") if len(q.question.choices) == 4]
    chosen = answers(*shipped, questions)
    for letter in range(4):
        assert 0.12 < chosen.count(letter) / len(chosen) < 0.40


def test_prompt_ids_are_the_predictors(encoder: Encoder) -> None:
    theirs = PromptEncoder(SHIPPED)
    bank = [*generate(5, 200), *conceptual(), *(copying(random.Random(i)) for i in range(50))]
    for q, example in zip(bank, encoder.encode(bank), strict=True):
        assert tuple(example.ids) == theirs.encode(q.question)
    assert tuple(encoder.letter_ids) == tuple(theirs.letter_ids)


def test_places_of_letters_and_right_choice(encoder: Encoder, shipped: Version) -> None:
    tokenizer: Tokenizer = shipped[1]
    bank = [*generate(6, 200), *(copying(random.Random(i)) for i in range(50))]
    for q, example in zip(bank, encoder.encode(bank), strict=True):
        assert [tokenizer.decode([example.ids[p]]) for p in example.letters] == list(q.question.letters)
        start, end = example.right
        assert tokenizer.decode(example.ids[start:end]) == q.right


def test_letters_in_code_are_not_taken_for_the_choices_letters(encoder: Encoder, shipped: Version) -> None:
    q = LabelledQuestion(Question("Which A\nB", ("x A", "B", "C B"), "y A\nz B"), 2)
    example = encoder.encode([q])[0]
    assert shipped[1].decode(example.ids[example.right[0] : example.right[1]]) == "C B"


def test_forward_equals_transformers(shipped: Version) -> None:
    model = shipped[0]
    ids = torch.randint(0, 1024, (3, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = model.model(ids, output_hidden_states=True)
        final, before_last = hidden_states(model, ids)
    torch.testing.assert_close(final, theirs.last_hidden_state, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(before_last, theirs.hidden_states[-2], atol=1e-4, rtol=1e-4)


def test_padding_changes_nothing(shipped: Version, encoder: Encoder) -> None:
    examples = sorted(encoder.encode(generate(8, 20)), key=lambda e: len(e.ids))
    with torch.no_grad():
        alone, _ = hidden_states(shipped[0], collate(examples[:1]).ids)
        among, _ = hidden_states(shipped[0], collate([examples[0], examples[-1]]).ids)
    torch.testing.assert_close(alone[0], among[0, : alone.shape[1]], atol=1e-4, rtol=1e-4)


def test_training_data_holds_the_train_split_only() -> None:
    from pipelines.bank import stream

    rng = random.Random(3)
    drawn = [
        q for q, _ in zip(lessons(rng, stream(20, TRAINING_SUBJECTS, split="train"), 0.1, 0), range(300), strict=False)
    ]
    assert {split_of(q) for q in drawn if q.subject != "copying"} == {"train"}
    assert not {q.subject for q in drawn} & set(HELD_OUT_SUBJECTS)


def test_batches_are_deterministic_and_of_like_length(encoder: Encoder) -> None:
    bank = generate(9, 96)

    def first() -> list[list[int]]:
        return next(batches(encoder, iter(bank), 16, random.Random(2), pool=6)).ids.tolist()

    assert first() == first()
    lengths = [b.last + 1 for b in batches(encoder, iter(bank), 16, random.Random(2), pool=6)]
    assert len(lengths) == 6
    assert sorted(int(length.max() - length.min()) for length in lengths)[2] <= 12


def test_new_model_is_small_tied_and_seeded() -> None:
    tokenizer = train_tokenizer(["print(x)\n" * 20])
    first, second = new_model(tokenizer, 5), new_model(tokenizer, 5)
    assert torch.equal(first.model.layers[0].mlp.up_proj.weight, second.model.layers[0].mlp.up_proj.weight)
    assert first.config.tie_word_embeddings
    assert first.config.num_key_value_heads < first.config.num_attention_heads


def test_special_tokens_digits_and_letters_are_single_tokens(shipped: Version) -> None:
    tokenizer: Tokenizer = shipped[1]
    for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *LETTERS, *"0123456789"):
        assert len(tokenizer.encode(text).ids) == 1, text
    assert tokenizer.decode(tokenizer.encode("héllo ☃\tx").ids) == "héllo ☃\tx"


def loss(folder: Path, questions: list[LabelledQuestion]) -> float:
    """Nats a question, as the version in `folder` answers them."""
    scorer = Scorer.load(folder, dtype="float32", device="cpu")
    answers = scorer.score([scorer.encode(q.question) for q in questions], "none")
    pairs = zip(answers, questions, strict=True)
    return sum(-math.log(max(a.probabilities[q.answer], 1e-12)) for a, q in pairs) / len(questions)


def test_a_few_steps_from_nothing_make_a_version_that_loads(tmp_path: Path) -> None:
    """What the whole of it learns is measured by `python -m benchmarks learning`."""
    made = make_tiny(tmp_path / "quick", seed=1, steps=3, quick=True, progress=False)
    assert made.steps == 3
    assert (tmp_path / "quick" / "README.md").read_text().count("--quick") == 1
    assert load_version(tmp_path / "quick")[0].config.model_type == "qwen2"
    assert math.isfinite(loss(tmp_path / "quick", generate(2, 20)))


def test_the_training_loss_falls_within_a_few_steps(shipped: Version, encoder: Encoder) -> None:
    """From random weights, on one batch again and again."""
    model = new_model(shipped[1], 5)
    losses = TrainingLoss(model, encoder.letter_ids)
    batch = collate(encoder.encode(generate(21, 24, ("complexity",))))
    seen: list[float] = []
    train(losses, iter([batch] * 12), steps=12, warmup=4, report=lambda progress: seen.append(progress.loss))
    with torch.no_grad():
        after = losses(batch)[0].item()
    assert after < 0.7 * seen[0], (seen[0], after)


def test_a_run_by_seconds_is_as_long_as_its_speed_so_far_says(
    shipped: Version, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that advances 1 s whenever it is read, once per step: after 6 s of 10 the number of steps is fixed."""
    monkeypatch.setattr(training_loop, "time", SimpleNamespace(monotonic=itertools.count(0.0, 1.0).__next__))
    losses = TrainingLoss(new_model(shipped[1], 5), encoder.letter_ids)
    batch = collate(encoder.encode(generate(21, 4, ("complexity",))))
    shares: list[float] = []
    steps = train(
        losses, itertools.repeat(batch), steps=None, seconds=10.0, report=lambda progress: shares.append(progress.share)
    )
    assert steps == 10
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


def test_fine_tuning_learns_what_it_is_shown(tmp_path: Path) -> None:
    shown = generate(31, 64, HELD_OUT_SUBJECTS, split="train")
    done = fine_tune_full(SHIPPED, tmp_path / "tuned", shown, steps=12, seed=1, progress=False)
    assert (done.steps, done.questions) == (12, 12 * 64)
    assert loss(tmp_path / "tuned", shown) < loss(SHIPPED, shown) - 0.1


def test_fine_tuning_needs_questions(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one question"):
        fine_tune_full(SHIPPED, tmp_path / "tuned", [])

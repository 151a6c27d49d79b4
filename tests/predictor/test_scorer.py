"""The scorer against transformers' own arithmetic, and its promises: order, batches, debiasing, limits."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2ForCausalLM

from common.question import Answer, Debias, Question, QuestionError
from predictor.calibration import Calibration
from predictor.scorer import Scorer

QUESTIONS = [
    Question("What does it print?", ("1", "2", "3"), code="print(1)", id="first"),
    Question("Which one?", ("a", "b")),
    Question("Long " * 60, ("yes", "no", "both", "neither")),
    Question("Ten?", tuple(f"choice {i}" for i in range(10))),
]


@pytest.fixture(scope="module")
def scorer(version: Path) -> Scorer:
    return Scorer.load(version, dtype="float32")


@pytest.fixture(scope="module")
def reference(version: Path) -> Any:
    return Qwen2ForCausalLM.from_pretrained(version, dtype=torch.float32).eval()


def expected(scorer: Scorer, reference: Any, question: Question) -> tuple[list[float], float]:
    """Letter probabilities and letter mass by transformers' full-vocabulary softmax."""
    ids = scorer.encode(question).ids
    with torch.no_grad():
        whole = reference(torch.tensor([ids])).logits[0, -1].double().softmax(-1)
    letters = whole[list(scorer.encoder.letter_ids[: len(question.choices)])]
    return (letters / letters.sum()).tolist(), float(letters.sum())


def score(scorer: Scorer, questions: Sequence[Question], debias: Debias | None = None) -> list[Answer]:
    return scorer.score([scorer.encode(q) for q in questions], debias)


def test_answers_equal_transformers_in_order(scorer, reference) -> None:
    answers = score(scorer, QUESTIONS)
    for question, answer in zip(QUESTIONS, answers, strict=True):
        probabilities, mass = expected(scorer, reference, question)
        assert answer.probabilities == pytest.approx(probabilities, abs=1e-5)
        assert answer.letter_mass == pytest.approx(mass, rel=1e-3)
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        assert (answer.index, answer.letter, answer.choice) == (best, "ABCDEFGHIJ"[best], question.choices[best])
        assert answer.id == question.id
        assert answer.prompt_tokens == len(scorer.encode(question).ids)


def test_the_derived_figures_follow_from_the_probabilities(scorer) -> None:
    for answer in score(scorer, QUESTIONS):
        first, second = sorted(answer.probabilities, reverse=True)[:2]
        assert math.fsum(answer.probabilities) == pytest.approx(1)
        assert answer.confidence == first
        assert answer.margin == pytest.approx(first - second)
        assert answer.entropy == pytest.approx(-sum(p * math.log(p) for p in answer.probabilities))
        assert 0 < answer.letter_mass <= 1


def test_many_batches_give_the_same_answers_in_order(scorer) -> None:
    many = [QUESTIONS[i % 4] for i in range(40)]
    for question, answer in zip(many, score(scorer, many), strict=True):
        alone = score(scorer, [question])[0]
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        assert answer.choice in question.choices


def test_the_same_call_gives_the_same_bits(scorer) -> None:
    assert score(scorer, QUESTIONS) == score(scorer, QUESTIONS)


def test_no_prompts_no_answers(scorer) -> None:
    assert scorer.score([]) == []


def test_cyclic_is_the_mean_over_rotations_scored_one_by_one(scorer, reference) -> None:
    question = QUESTIONS[0]
    k = len(question.choices)
    total = [0.0] * k
    for by in range(k):
        probabilities, _ = expected(scorer, reference, question.rotated(by))
        for letter, p in enumerate(probabilities):
            total[(letter + by) % k] += p / k
    assert score(scorer, [question], "cyclic")[0].probabilities == pytest.approx(total, abs=1e-5)


def test_cyclic_does_not_depend_on_the_choices_order(scorer) -> None:
    question = QUESTIONS[3]
    first, second = score(scorer, [question, question.rotated(3)], "cyclic")
    by_choice = dict(zip(question.rotated(3).choices, second.probabilities, strict=True))
    assert [by_choice[c] for c in question.choices] == pytest.approx(first.probabilities, abs=1e-5)


def test_the_prior_is_divided_out(scorer) -> None:
    plain = score(scorer, [QUESTIONS[0]])[0].probabilities
    biased = scorer.with_calibration(Calibration({3: (0.5, 0.3, 0.2)}, 10))
    assert biased.default_debias == "prior"
    raised = [p / q for p, q in zip(plain, (0.5, 0.3, 0.2), strict=True)]
    expected = [r / sum(raised) for r in raised]
    assert score(biased, [QUESTIONS[0]])[0].probabilities == pytest.approx(expected)
    assert score(biased, [QUESTIONS[0]], "none")[0].probabilities == plain
    # No prior for two choices: left as it is.
    assert score(biased, [QUESTIONS[1]], "prior")[0].probabilities == score(scorer, [QUESTIONS[1]])[0].probabilities


def test_the_estimated_prior_evens_the_letters_out(scorer) -> None:
    # Turned, so that no letter always holds the same text: what differs between letters is the letters' own.
    questions = [Question(f"Question {i}?", tuple(f"{i} {c}" for c in "wxyz")).rotated(i) for i in range(80)]
    prior = scorer.estimate_prior(questions[:40])
    assert math.fsum(prior.priors[4]) == pytest.approx(1)
    fixed = scorer.with_calibration(prior)

    def spread(model: Scorer, mode: Debias) -> float:
        means = [sum(a.probabilities[i] for a in score(model, questions[40:], mode)) / 40 for i in range(4)]
        return max(means) - min(means)

    assert spread(fixed, "prior") < spread(fixed, "none") / 2


def test_passes_count_the_work(scorer) -> None:
    prompt = scorer.encode(QUESTIONS[0])
    assert (scorer.passes(prompt), scorer.passes(prompt, "prior"), scorer.passes(prompt, "cyclic")) == (1, 1, 3)


def test_a_long_question_is_refused_with_its_tokens_and_the_limit(version) -> None:
    scorer = Scorer.load(version, dtype="float32", max_tokens=120)
    with pytest.raises(QuestionError, match=r"question: has \d{3} tokens with its choices, the limit is 120") as caught:
        scorer.encode(QUESTIONS[2])
    assert caught.value.field == "question"


def test_the_limit_never_exceeds_the_models_positions(version) -> None:
    assert Scorer.load(version, max_tokens=10**6).max_tokens == 1024


def test_explain_is_transformers_greedy_text(scorer, reference) -> None:
    prompt = scorer.encode(QUESTIONS[0])
    answer = scorer.score([prompt])[0]
    ids = torch.tensor([scorer.encoder.encode_explain(prompt.question, answer.letter)])
    stops = sorted(scorer.encoder.stop_ids)
    out = reference.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, eos_token_id=stops, pad_token_id=0
    )[0, ids.shape[1] :].tolist()
    pieces: list[str] = []
    explanation = scorer.explain(prompt, answer, max_new_tokens=24, on_text=pieces.append)
    assert "".join(pieces) == explanation.text
    assert explanation.text == scorer.encoder.decode(out).strip()
    assert explanation.completion_tokens == len([t for t in out if t not in stops])


def test_explain_stops_when_asked(scorer) -> None:
    prompt = scorer.encode(QUESTIONS[0])
    asked = iter([False, False, True])
    explanation = scorer.explain(prompt, scorer.score([prompt])[0], should_stop=lambda: next(asked))
    assert explanation.completion_tokens == 2
    assert explanation.finish_reason == "length"


def test_the_version_folder_names_the_model(version, tmp_path) -> None:
    folder = shutil.copytree(version, tmp_path / "seventh")
    Calibration({2: (0.6, 0.4)}, 5).write(folder)
    scorer = Scorer.load(folder, revision="rev-1")
    answer = score(scorer, [QUESTIONS[1]])[0]
    assert (answer.model_version, answer.revision) == ("seventh", "rev-1")
    assert scorer.default_debias == "prior"

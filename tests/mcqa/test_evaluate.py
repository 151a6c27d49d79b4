from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mcqa.verbs import app
from pipelines import bank
from pipelines.evaluation.answer_records import read_records


def mcqa(*words: str) -> Result:
    return CliRunner().invoke(app, [*words], env={"COLUMNS": "140"})


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 labelled questions, one far too long for the tiny model."""
    path = tmp_path_factory.mktemp("bank") / "questions.jsonl"
    assert mcqa("bank", "--sample", "39", "--out", str(path)).exit_code == 0
    too_long = {"id": "long", "question": "long " * 20_000, "choices": ["x", "y"], "answer": 0, "subject": "long"}
    with path.open("a") as file:
        file.write(json.dumps(too_long) + "\n")
    return path


@pytest.mark.usefixtures("processes")
def test_in_process_and_behind_a_url_give_the_same_report(questions: Path, server: Any, tmp_path: Path) -> None:
    reports = []
    for name, where in (("here", []), ("there", ["--url", server.url])):
        files = {kind: tmp_path / f"{name}.{kind}" for kind in ("json", "jsonl", "png")}
        result = mcqa(
            *("evaluate", "--bank", str(questions), "--rotations", "5", "--json", *where),
            *("--out", str(files["json"]), "--records", str(files["jsonl"]), "--diagram", str(files["png"])),
        )
        assert result.exit_code == 0, result.stderr
        report = json.loads(result.stdout)
        assert json.loads(files["json"].read_text()) == report
        assert files["png"].read_bytes().startswith(b"\x89PNG")
        records = read_records(files["jsonl"])
        assert len(records) == report["accuracy"]["total"] == 39
        assert sum(r.correct for r in records) == report["accuracy"]["correct"]
        reports.append((report, records))
    (here, ours), (there, theirs) = reports
    assert [(r.id, r.chosen) for r in ours] == [(r.id, r.chosen) for r in theirs]
    assert [r.probabilities for r in ours] == [pytest.approx(r.probabilities, abs=1e-3) for r in theirs]
    for report in (here, there):
        assert [s["id"] for s in report["questions"]["skipped"]] == ["long"]
        assert "tokens with its choices, the limit is" in report["questions"]["skipped"][0]["reason"]
        assert report["rotations"]["total"] == 5
    assert here["model"]["version"] == there["model"]["version"]
    assert here["accuracy"] == there["accuracy"]


def test_the_table_names_the_subjects(questions: Path) -> None:
    shown = mcqa("evaluate", "--bank", str(questions))
    assert shown.exit_code == 0, shown.stderr
    assert "accuracy" in shown.stdout
    assert "needs 300 answers, has 39" in shown.stdout
    assert "1 skipped, the first: long: question: has" in shown.stdout
    subjects = {str(item.question.subject) for item in bank.load_jsonl(questions)} - {"long"}
    for subject in subjects:
        assert subject in shown.stdout


def test_limit_draws_the_same_holdout_questions_for_the_same_seed(tmp_path: Path) -> None:
    drawn = []
    for seed in ("4", "4", "5"):
        out = tmp_path / "records.jsonl"
        assert mcqa("evaluate", "--limit", "30", "--seed", seed, "--records", str(out)).exit_code == 0
        drawn.append([r.id for r in read_records(out)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 30


def test_the_bank_shows_its_subjects_and_splits() -> None:
    shown = mcqa("bank", "conceptual")
    assert shown.exit_code == 0, shown.stderr
    whole = bank.conceptual()
    subjects = Counter(item.question.subject for item in whole)
    for line in shown.stdout.splitlines()[1:-1]:
        name, *numbers = line.rsplit(maxsplit=4)
        train, validation, holdout, total = map(int, numbers)
        assert total == train + validation + holdout == subjects.pop(name)
    assert not subjects
    assert shown.stdout.splitlines()[-1].split()[-1] == str(len(whole))


def test_what_the_bank_writes_can_be_loaded(tmp_path: Path) -> None:
    out = tmp_path / "new" / "q.jsonl"
    subject = bank.conceptual()[0].subject
    assert mcqa("bank", "conceptual", "--subject", subject, "--out", str(out)).exit_code == 0
    assert bank.load_jsonl(out) == [item for item in bank.conceptual() if item.subject == subject]


def test_a_sample_shows_the_right_choice() -> None:
    shown = mcqa("bank", "conceptual", "--sample", "2", "--seed", "1").stdout
    assert sum(line.startswith("▶ ") for line in shown.splitlines()) == 2


def test_a_place_that_cannot_be_written_is_named(questions: Path) -> None:
    result = mcqa("evaluate", "--bank", str(questions), "--out", "/proc/no/report.json")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: cannot write /proc/no")

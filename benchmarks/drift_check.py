"""A drift check of 1,000,000 answers: SQL, the comparison with the reference and the verdict, from a SQLite file.

The check runs in a process of its own that imports what the function imports; its peak memory is what the system
reports at its end, next to that of the same process with an empty window.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.results import Row, median, report

ROWS, ROUNDS, CHUNK = 1_000_000, 5, 10_000
VERSION, BEGIN, SECONDS = "7", 1_700_000_000.0, 3600.0


def main() -> None:
    if sys.argv[1:2] == ["--check"]:
        print(json.dumps(check(sys.argv[2], float(sys.argv[3]))))
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-drift-") as folder:
        path = Path(folder) / "loop.db"
        make(path)
        empty = run_check(path, BEGIN)
        rounds = [run_check(path, BEGIN + SECONDS) for _ in range(ROUNDS)]
        for result in rounds:
            answers, seconds, cpu = result["n"], result["seconds"], result["cpu"]
            print(f"  {answers} answers: {seconds:.2f} s, {cpu:.2f} s of processor time", flush=True)
        size = path.stat().st_size / 1e6
    assert all(result["n"] == ROWS and result["verdict"] == "no-drift" for result in rounds), rounds
    peak = max(result["peak"] for result in rounds)
    rows = [
        Row("answers in the window", ROWS, "rows"),
        Row(
            f"SQL, comparison and verdict, median of {ROUNDS}",
            median([result["seconds"] for result in rounds]),
            "s",
            at_most=3.0,
        ),
        Row("the slowest round", max(result["seconds"] for result in rounds), "s"),
        Row("processor time, median", median([result["cpu"] for result in rounds]), "s"),
        Row("peak memory", peak, "MB", at_most=256.0),
        Row("peak memory, without an answer", empty["peak"], "MB"),
        Row("the database's file", size, "MB"),
    ]
    report("drift_check: one window of a million answers", rows)


def run_check(path: Path, until: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.drift_check", "--check", str(path), str(until)]
    completed = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120)
    result: dict[str, Any] = json.loads(completed.stdout)
    return result


def check(path: str, until: float) -> dict[str, Any]:
    """One check as the function makes it, with the same reference."""
    from functions.database import engine, transaction
    from functions.drift.decision import State, evaluate
    from functions.drift.reference import parse
    from functions.drift.store import measure

    reference = parse(Path(path).with_name("reference.json").read_bytes())
    made, state = engine(f"sqlite:///{path}"), State(VERSION, BEGIN)
    begin, cpu = time.perf_counter(), time.process_time()
    with transaction(made) as connection:
        summary = measure(connection, reference, state, until)
    verdict = evaluate(reference, summary, state, until)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {"n": verdict.n, "verdict": verdict.verdict, "seconds": seconds, "cpu": cpu, "peak": peak}


def make(path: Path) -> None:
    """The migrated database with the answers, and its reference.json next to it."""
    import numpy as np
    from sqlalchemy import insert

    from functions.collect.tables import GivenAnswer
    from functions.database import engine
    from functions.drift.reference import summarise
    from functions.migrate import migrate

    rng = np.random.default_rng(0)

    def draw(count: int) -> dict[str, list[float]]:
        return {
            "confidence": rng.beta(5, 2, count).tolist(),
            "entropy": rng.gamma(2, 0.3, count).tolist(),
            "margin": rng.random(count).tolist(),
            "letter_mass": (1 - rng.exponential(1e-4, count)).tolist(),
            "prompt_tokens": rng.integers(60, 400, count).tolist(),
        }

    reference = summarise(draw(4000), list("ABCD" * 1000))
    path.with_name("reference.json").write_text(reference.to_json())
    made = engine(f"sqlite:///{path}")
    migrate(made)

    def rows(first: int) -> Iterator[dict[str, Any]]:
        columns = draw(CHUNK)
        ids = rng.integers(0, 2**63, CHUNK).tolist()  # the logger's are UUIDs: no order
        for i, id in enumerate(ids):
            at = BEGIN + (first + i) * SECONDS / ROWS
            key = {"source": "http://localhost:9081/", "id": f"{id:016x}-{first + i}", "place": 0}
            named = {name: values[i] for name, values in columns.items()}
            yield {**key, "version": VERSION, "answered_at": at, "letter": "ABCD"[i % 4], **named}

    for first in range(0, ROWS, CHUNK):
        with made.begin() as connection:
            connection.execute(insert(GivenAnswer), list(rows(first)))
    made.dispose()


if __name__ == "__main__":
    main()

"""Process start to first answer at real size, alternating with a plain KServe + transformers server.

Twice each: with the weights in the page cache, and, where this process may drop it (as root), read from disk.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.real_size import folder, questions
from benchmarks.results import Row, median, report
from benchmarks.servers import predictor, serving

ROUNDS = 3
GIGABYTE = 1e9


def main() -> None:
    version = folder()
    question = questions(1)[0]
    body = {"instances": [{"question": question.stem, "choices": list(question.choices)}]}
    commands = {
        "predictor": predictor(version),
        "naive": [sys.executable, "-m", "benchmarks.naive_server", str(version), "{port}", "{grpc_port}"],
    }
    warm: dict[str, list[float]] = {name: [] for name in commands}
    cold: dict[str, list[float]] = {name: [] for name in commands}
    memory: dict[str, int] = {}
    stages: dict[str, float] = {}
    for turn in range(ROUNDS + 1):
        for name, command in commands.items():
            emptied = turn == ROUNDS and _drop_page_cache()
            if turn == ROUNDS and not emptied:
                continue
            with serving(command, body, name=name) as server:
                (cold if emptied else warm)[name].append(server.first_answer)
                memory[name] = server.peak_memory()
                if name == "predictor" and not emptied:
                    stages = server.stages()
            print(f"  {'disk' if emptied else 'page cache'}: {name} {server.first_answer:.2f} s", flush=True)
    print("  timeline of the predictor's last warm start:")
    for stage, at in sorted(stages.items(), key=lambda item: item[1]):
        print(f"    {at:6.2f} s  {stage}")
    weights = (version / "model.safetensors").stat().st_size
    rows = [
        Row("first answer, weights in the page cache", median(warm["predictor"]), "s", at_most=7),
        Row("the same, plain kserve + transformers", median(warm["naive"]), "s"),
        Row("ratio", median(warm["naive"]) / median(warm["predictor"]), "x"),
        Row("weights", weights / GIGABYTE, "GB"),
        Row("peak memory above the weights", (memory["predictor"] - weights) / GIGABYTE, "GB", at_most=1.5),
        Row("the same, plain kserve + transformers", (memory["naive"] - weights) / GIGABYTE, "GB"),
    ]
    if cold["predictor"]:
        rows[3:3] = [
            Row("first answer, page cache emptied", cold["predictor"][0], "s"),
            Row("the same, plain kserve + transformers", cold["naive"][0], "s"),
        ]
    report("cold-start: process start to first answer", rows)


def _drop_page_cache() -> bool:
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()

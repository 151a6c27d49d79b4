"""What the server adds to the scorer: one client against the scorer in this process, and 64 clients against one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2

from benchmarks.real_size import folder, questions
from benchmarks.results import Row, median, report
from benchmarks.servers import predictor, serving
from common.names import INFERENCE_SERVICE
from common.question import Question

CLIENTS = 64
GIGABYTE = 1e9


def body(question: Question) -> dict[str, Any]:
    instance = {"question": question.stem, "choices": list(question.choices)}
    return {"instances": [instance | ({"code": question.code} if question.code else {})]}


def main() -> None:
    from predictor.scorer import Scorer

    version = folder()
    asked = questions(CLIENTS)
    scorer = Scorer.load(version)
    prompts = [scorer.encode(q) for q in asked]
    scorer.score(prompts[:2])
    with (
        serving(predictor(version, "--request-timeout", "600"), body(asked[0]), name="http") as server,
        httpx2.Client(timeout=600) as http,
    ):
        address = f"{server.url}/v1/models/{INFERENCE_SERVICE}:predict"

        def ask(question: Question) -> str:
            response = http.post(address, json=body(question))
            response.raise_for_status()
            return str(response.json()["predictions"][0]["choice"])

        overhead, direct = [], []
        for question, prompt in zip(asked[:16], prompts[:16], strict=True):
            start = time.perf_counter()
            expected = scorer.score([prompt])[0]
            middle = time.perf_counter()
            answer = ask(question)
            end = time.perf_counter()
            assert answer == expected.choice, f"the server chose {answer!r}, the scorer {expected.choice!r}"
            direct.append(middle - start)
            overhead.append((end - middle) / (middle - start) - 1)
        print(f"  one client: {median(overhead) * 100:+.1f}% (median of {len(overhead)} questions)", flush=True)
        sequential = _rate(1, ask, asked)
        print(f"  1 client: {sequential:.2f} questions/s", flush=True)
        concurrent = _rate(CLIENTS, ask, asked)
        print(f"  {CLIENTS} clients: {concurrent:.2f} questions/s", flush=True)
        memory = server.peak_memory() - (version / "model.safetensors").stat().st_size
    report(
        "http: what the server adds",
        [
            Row("scorer alone, median", median(direct) * 1e3, "ms"),
            Row("HTTP adds at one client, median", median(overhead) * 100, "%", at_most=5),
            Row("throughput, 1 client", sequential, "questions/s"),
            Row(f"throughput, {CLIENTS} clients", concurrent, "questions/s"),
            Row(f"{CLIENTS} clients against 1", concurrent / sequential, "x", at_least=1),
            Row(f"peak memory above the weights after {CLIENTS} clients", memory / GIGABYTE, "GB", at_most=1.5),
        ],
    )


def _rate(clients: int, ask: Any, asked: list[Question]) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, asked))
    return len(asked) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()

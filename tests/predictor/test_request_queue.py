from __future__ import annotations

import random
from concurrent.futures import Future
from dataclasses import dataclass

from common.question import Question
from predictor.request_queue import ExplanationTask, Job, RequestQueue, length_class

ANY = Question("?", ("a", "b"))


@dataclass(frozen=True)
class Prompt:
    tokens: int
    question: Question = ANY


def job(*tokens: int, debias: str = "none") -> Job:
    prompts = [Prompt(size) for size in tokens]
    return Job(Future(), 1e18, prompts, list(tokens), debias)  # type: ignore[arg-type]


def test_one_question_of_each_job_in_turn() -> None:
    queue, big, small = RequestQueue(), job(*[10] * 6), job(10, 10)
    queue.add(big)
    queue.add(small)
    batch = queue.take_batch(50)
    assert [(it is big, place) for it, place in batch] == [(True, 0), (False, 0), (True, 1), (False, 1), (True, 2)]


def test_a_job_that_gave_goes_behind_one_that_did_not() -> None:
    queue, big = RequestQueue(), job(*[10] * 100)
    queue.add(big)
    queue.take_batch(30)
    late = job(500)
    queue.add(late)
    queue.take_batch(30)
    assert [it is late for it, _ in queue.take_batch(30)] == [True]


def test_a_batch_holds_similar_lengths_and_one_debiasing() -> None:
    queue = RequestQueue()
    queue.add(job(100, 101, 400, 99))
    queue.add(job(100, debias="cyclic"))
    queue.add(job(102))
    batch = queue.take_batch(10_000)
    assert sorted(it.prompts[place].tokens for it, place in batch) == [99, 100, 101, 102]
    assert {it.debias for it, _ in batch} == {"none"}


def test_a_question_larger_than_a_batch_is_taken_alone() -> None:
    queue = RequestQueue()
    queue.add(job(5000, 5000))
    assert len(queue.take_batch(512)) == 1


def test_removing_a_job_frees_its_room_once() -> None:
    queue, first, second = RequestQueue(), job(10, 20, 30), job(40)
    queue.add(first)
    queue.add(second)
    assert (queue.questions, queue.tokens) == (4, 100)
    assert queue.remove(first) == 3
    assert queue.remove(first) == 0
    assert (queue.questions, queue.tokens) == (1, 40)
    assert [it for it, _ in queue.take_batch(1000)] == [second]
    assert not queue


def test_explanations_wait_apart() -> None:
    queue, question, explanation = RequestQueue(), job(10), job(10)
    explanation.explain = ExplanationTask(None, 5)  # type: ignore[arg-type]
    queue.add(explanation)
    queue.add(question)
    assert [it for it, _ in queue.take_batch(1000)] == [question]
    assert queue.take_batch(1000) == []
    assert queue.take_explanation() is explanation
    assert queue.take_explanation() is None
    assert (queue.questions, queue.tokens) == (0, 0)


def test_every_question_is_taken_exactly_once_and_the_counts_hold() -> None:
    random.seed(7)
    queue, jobs, taken = RequestQueue(), [], []
    for _ in range(2000):
        if random.random() < 0.3:
            jobs.append(job(*[random.randint(1, 600) for _ in range(random.randint(1, 40))]))
            queue.add(jobs[-1])
        elif random.random() < 0.1 and jobs:
            queue.remove(jobs.pop(random.randrange(len(jobs))))
        else:
            taken += queue.take_batch(random.choice([64, 512, 4096]))
        waiting = [it.costs[i] for it in queue.jobs() for places in it.waiting.values() for i in places]
        assert (queue.questions, queue.tokens) == (len(waiting), sum(waiting))
    while batch := queue.take_batch(512):
        taken += batch
    assert len(taken) == len(set(taken))
    assert set(taken) >= {(it, place) for it in jobs for place in range(len(it.prompts))}
    assert not queue


def test_lengths_of_a_class_differ_by_at_most_root_two() -> None:
    for tokens in range(1, 5000):
        assert length_class(tokens) <= length_class(tokens + 1)
    by_class: dict[int, list[int]] = {}
    for tokens in range(8, 5000):
        by_class.setdefault(length_class(tokens), []).append(tokens)
    assert all(max(sizes) / min(sizes) < 1.42 for sizes in by_class.values())

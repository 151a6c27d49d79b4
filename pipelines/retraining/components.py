"""The pipeline's components. Each body only calls its step's plain function, and retries while a server is down.

All run in the pipelines image, which holds this package. None is cached: each reads the registry or the database, or
writes to the run's record, and a cached step would leave a gap in the record.

kfp copies each body into the compiled pipeline: so the imports stand inside, and nothing is shared between them.
"""

# No `from __future__ import annotations`: kfp reads the annotations themselves, and it wants a bare `dict`.
# mypy: disable-error-code="type-arg"

import functools

from kfp import dsl
from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

from pipelines.retraining.pod_spec import IMAGE

component = functools.partial(dsl.component, base_image=IMAGE, install_kfp_package=False)


@component
def collect_data(
    run_key: str,
    model_name: str,
    champion: str,
    since: float,
    until: float,
    reason: str,
    traceparent: str,
    drift_event: str,
    pipeline_run: str,
    sizes: dict,
    replay_share: float,
    seed: int,
    train: Output[Dataset],
    holdout: Output[Dataset],
    counts: Output[Metrics],
) -> dict:
    """The labelled data of the window. Returns the run context, which tells the later steps which run this is."""
    from pathlib import Path

    from pipelines.retraining.dataset import DatasetSizes
    from pipelines.retraining.retry import retry_unavailable
    from pipelines.retraining.steps.collect_data import collect_data
    from pipelines.run_context import RunContext

    asked = RunContext(
        run_key=run_key,
        model=model_name,
        champion=champion,
        reason=reason,
        traceparent=traceparent,
        drift_event=drift_event,
        pipeline_run=pipeline_run,
    )
    size = DatasetSizes.from_options({**sizes, "replay_share": replay_share})
    paths = (Path(train.path), Path(holdout.path))
    run, numbers = retry_unavailable(lambda: collect_data(asked, since, until, size, seed, *paths))
    for name, value in numbers.items():
        counts.log_metric(name, value)
    return run.to_dict()


@component
def fine_tune(
    run: dict,
    method: str,
    seconds: float,
    steps: int,
    learning_rate: float,
    replay_share: float,
    blend: float,
    seed: int,
    lora: dict,
    train: Input[Dataset],
    challenger: Output[Model],
    training: Output[Metrics],
) -> None:
    """The challenger, trained from the champion."""
    from pathlib import Path

    from pipelines.retraining.retry import retry_unavailable
    from pipelines.retraining.steps.fine_tune import fine_tune
    from pipelines.run_context import RunContext

    context = RunContext.from_dict(run)
    numbers = retry_unavailable(
        lambda: fine_tune(
            context,
            Path(train.path),
            Path(challenger.path),
            method=method,
            seconds=seconds,
            steps=steps,
            lr=learning_rate,
            replay_share=replay_share,
            blend=blend,
            seed=seed,
            lora=lora,
        )
    )
    challenger.metadata["framework"] = "safetensors"
    for name, value in numbers.items():
        training.log_metric(name, value)


@component
def evaluate(
    run: dict,
    timed: int,
    challenger: Input[Model],
    holdout: Input[Dataset],
    results: Output[Dataset],
    scores: Output[Metrics],
    letters: Output[ClassificationMetrics],
    report: Output[HTML],
) -> None:
    """Champion and challenger on the same held-out questions."""
    from pathlib import Path

    from pipelines.retraining.retry import retry_unavailable
    from pipelines.retraining.steps.evaluate import evaluate
    from pipelines.run_context import RunContext

    context = RunContext.from_dict(run)
    paths = (Path(challenger.path), Path(holdout.path), Path(results.path), Path(report.path))
    evaluation = retry_unavailable(lambda: evaluate(context, *paths, timed=timed))
    for name, value in evaluation.numbers.items():
        scores.log_metric(name, value)
    letters.log_confusion_matrix(evaluation.letters, evaluation.confusion)


@component
def gate(run: dict, options: dict, results: Input[Dataset], verdict: Output[Markdown]) -> bool:
    """Whether the challenger is proven better, and no worse than a margin elsewhere."""
    from pathlib import Path

    from pipelines.retraining.retry import retry_unavailable
    from pipelines.retraining.steps.gate import gate
    from pipelines.run_context import RunContext

    context = RunContext.from_dict(run)
    return retry_unavailable(lambda: gate(context, Path(results.path), Path(verdict.path), options))


@component
def measure_reference(
    run: dict,
    challenger: Input[Model],
    holdout: Input[Dataset],
    reference: Output[Dataset],
    answers: Output[Metrics],
) -> None:
    """The challenger's drift reference."""
    from pathlib import Path

    from pipelines.retraining.retry import retry_unavailable
    from pipelines.retraining.steps.reference import measure_reference
    from pipelines.run_context import RunContext

    context = RunContext.from_dict(run)
    paths = (Path(challenger.path), Path(holdout.path), Path(reference.path))
    for name, value in retry_unavailable(lambda: measure_reference(context, *paths)).items():
        answers.log_metric(name, value)


@component
def register(
    run: dict,
    challenger: Input[Model],
    reference: Input[Dataset],
    holdout: Input[Dataset],
    scores: Input[Metrics],
) -> str:
    """The registered version, with the alias challenger."""
    from pathlib import Path

    from pipelines.retraining.retry import retry_unavailable
    from pipelines.retraining.steps.register import register
    from pipelines.run_context import RunContext

    context = RunContext.from_dict(run)
    numbers = {name: float(value) for name, value in scores.metadata.items() if isinstance(value, int | float)}
    paths = (Path(challenger.path), Path(reference.path), Path(holdout.path))
    return retry_unavailable(lambda: register(context, *paths, numbers))


@component
def report(
    run_key: str,
    model_name: str,
    champion: str,
    reason: str,
    traceparent: str,
    drift_event: str,
    pipeline_run: str,
    summary: Output[Markdown],
    status: dsl.PipelineTaskFinalStatus,
) -> None:
    """How the run ended, whatever happened."""
    from pathlib import Path

    from pipelines.retraining.retry import retry_unavailable
    from pipelines.retraining.steps.report import report
    from pipelines.run_context import RunContext

    asked = RunContext(
        run_key=run_key,
        model=model_name,
        champion=champion,
        reason=reason,
        traceparent=traceparent,
        drift_event=drift_event,
        pipeline_run=pipeline_run,
    )
    retry_unavailable(lambda: report(asked, str(status.state or ""), Path(summary.path)))

"""The Kubeflow pipeline: collect data → fine-tune → evaluate → gate → reference → register, and in any case report."""

from pathlib import Path

from kfp import compiler, dsl

from pipelines.retraining import PIPELINE
from pipelines.retraining import components as step

# For outside things that are away for a while: the database, the registry, the Broker.
RETRIES = 3
BACKOFF = "2s"


def _settle(task: dsl.PipelineTask, retries: int = RETRIES) -> None:
    """Never cached (see components.py), tried again: every step can be repeated from its inputs, also after its end."""
    task.set_caching_options(False)
    task.set_retry(retries, backoff_duration=BACKOFF, backoff_factor=2.0)


@dsl.pipeline(name=PIPELINE, description="Labelled feedback in; a challenger that passed the gate out.")
def retraining(
    run_key: str,
    model_name: str,
    champion: str,
    since: float,
    until: float,
    reason: str = "",
    traceparent: str = "",
    drift_event: str = "",
    seed: int = 0,
    data: dict = {},  # noqa: B006 - kfp takes the default's value
    fine_tune_method: str = "auto",
    fine_tune_seconds: float = 60.0,
    fine_tune_steps: int = 0,
    learning_rate: float = 0.0,
    replay_share: float = 0.4,
    blend: float = 0.8,
    lora: dict = {},  # noqa: B006
    timed_questions: int = 150,
    gate: dict = {},  # noqa: B006
) -> None:
    """`since` and `until` in Unix seconds: the feedback to learn from.

    `data` overrides mix.Sizes, `lora` finetune.lora.LoraSettings, `gate` gate.Config ("off" switches a guard off).
    `fine_tune_seconds`, `fine_tune_steps` and `learning_rate` of 0 mean: no such limit, the method's own.
    """
    job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    same = {
        "run_key": run_key,
        "model_name": model_name,
        "champion": champion,
        "reason": reason,
        "traceparent": traceparent,
        "drift_event": drift_event,
        "pipeline_run": job,
    }
    ending = step.report(**same)
    _settle(ending)
    with dsl.ExitHandler(ending, name="run"):
        collected = step.collect_data(
            **same, since=since, until=until, sizes=data, replay_share=replay_share, seed=seed
        )
        run, holdout = collected.outputs["Output"], collected.outputs["holdout"]
        tuned = step.fine_tune(
            run=run,
            train=collected.outputs["train"],
            method=fine_tune_method,
            seconds=fine_tune_seconds,
            steps=fine_tune_steps,
            learning_rate=learning_rate,
            replay_share=replay_share,
            blend=blend,
            seed=seed,
            lora=lora,
        )
        challenger = tuned.outputs["challenger"]
        evaluated = step.evaluate(run=run, challenger=challenger, holdout=holdout, timed=timed_questions)
        passed = step.gate(run=run, results=evaluated.outputs["results"], options=gate)
        for task in (evaluated, passed):
            _settle(task)
        # Too little feedback does not become more, and a minute of training is long.
        for task in (collected, tuned):
            _settle(task, retries=1)
        with dsl.If(passed.outputs["Output"] == True, name="passed"):  # noqa: E712 - an expression of the compiler's
            measured = step.measure_reference(run=run, challenger=challenger, holdout=holdout)
            registered = step.register(
                run=run,
                challenger=challenger,
                holdout=holdout,
                reference=measured.outputs["reference"],
                scores=evaluated.outputs["scores"],
            )
            _settle(measured)
            _settle(registered)


def compile_pipeline(path: Path) -> None:
    """Writes the pipeline's IR YAML; the same bytes each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(retraining, str(path))

"""The Kubeflow pipeline: collect data → fine-tune → evaluate → gate → reference → register, and in any case report."""

# No `from __future__ import annotations`: kfp reads the annotations themselves.

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from pipelines.retraining import PIPELINE
from pipelines.retraining import components as step
from pipelines.retraining.pod_spec import Options, Step, deploy

# For outside things that are away for a while: the database, the registry, the Broker.
RETRIES = 3
BACKOFF = "2s"


def pipeline(options: Options) -> Any:
    """The pipeline as a kfp component, for a cluster of these options; a local runner takes it as well."""
    place = options.placement

    @dsl.pipeline(name=PIPELINE, description="Labelled feedback in; a challenger that passed the gate out.")
    def retraining(
        run_key: str = "",
        model_name: str = "",
        champion: str = "",
        since: float = 0.0,
        until: float = 0.0,
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
        accelerator: str = place.accelerator,
        accelerators: str = str(place.accelerators),
        node_selector: dict = place.node_selector,
        tolerations: list = place.tolerations,
    ) -> None:
        """`since` and `until` in Unix seconds: the feedback to learn from; until 0 is now.

        Without a `model_name` the one of the environment, without a `champion` the one that has the alias, without a
        `run_key` one of model, champion and data: so a run that somebody starts by hand needs no parameter.
        `data` overrides mix.DatasetSizes, `lora` finetune.lora.LoraSettings, `gate` gate.Config ("off" switches a guard off).
        `fine_tune_seconds`, `fine_tune_steps` and `learning_rate` of 0 mean: no such limit, the method's own.
        `accelerator`, `accelerators`, `node_selector` and `tolerations` say where the fine-tuning runs on a cluster.
        """
        chosen = {
            "accelerator": accelerator,
            "accelerators": accelerators,
            "node_selector": node_selector,
            "tolerations": tolerations,
        }
        settle = _settler(options, chosen)
        same = {
            "run_key": run_key,
            "model_name": model_name,
            "champion": champion,
            "reason": reason,
            "traceparent": traceparent,
            "drift_event": drift_event,
            "pipeline_run": dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        }
        ending = step.report(**same)
        settle(ending, "report")
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
            settle(evaluated, "evaluate")
            settle(passed, "gate")
            # Too little feedback does not become more, and a minute of training is long.
            settle(collected, "collect-data", retries=1)
            settle(tuned, "fine-tune", retries=1)
            with dsl.If(passed.outputs["Output"] == True, name="passed"):  # noqa: E712 - the compiler's expression
                measured = step.measure_reference(run=run, challenger=challenger, holdout=holdout)
                registered = step.register(
                    run=run,
                    challenger=challenger,
                    holdout=holdout,
                    reference=measured.outputs["reference"],
                    scores=evaluated.outputs["scores"],
                )
                settle(measured, "reference")
                settle(registered, "register")

    return retraining


def compile_pipeline(path: Path, options: Options | None = None) -> None:
    """Writes the pipeline's IR YAML and, as its second document, the platform spec; the same bytes each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(pipeline(options or Options()), str(path))


def _settler(options: Options, placement: dict[str, Any]) -> Callable[..., None]:
    def settle(task: dsl.PipelineTask, name: Step, retries: int = RETRIES) -> None:
        """Never cached (see components.py), tried again: every step can be repeated from its inputs, even when done."""
        task.set_caching_options(False)
        task.set_retry(retries, backoff_duration=BACKOFF, backoff_factor=2.0)
        deploy(task, name, options, placement)

    return settle

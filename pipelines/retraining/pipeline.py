"""The Kubeflow pipeline: collect data → fine-tune → evaluate → gate → reference → register, and in any case report."""

# No `from __future__ import annotations`: kfp reads the annotations themselves, and it wants a bare `dict`.
# mypy: disable-error-code="type-arg"

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from common.names import PIPELINE
from pipelines.retraining import components
from pipelines.retraining.pod_spec import ClusterOptions, Step, apply_pod_spec

# While the database, the registry or the Broker is unavailable.
RETRIES = 3
BACKOFF = "2s"


def pipeline(options: ClusterOptions) -> Any:
    """The pipeline as a kfp component, for a cluster of these options; a local runner takes it as well."""
    place = options.placement

    declare: Callable[[Callable[..., None]], Any] = dsl.pipeline(
        name=PIPELINE, description="Labelled feedback in; a challenger that passed the gate out."
    )

    # One long function: kfp reads the parameters from its signature, and its body is the graph.
    @declare
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
        """`since` and `until` in Unix seconds: the feedback to learn from. `until` 0 is now.

        A run that is started by hand needs no parameter: `model_name` defaults to the environment's, `champion` to the
        version that has the alias, `run_key` to a key made of model, champion and data. `data` overrides
        dataset.DatasetSizes, `lora` lora.LoraSettings, `gate` quality_gate.GateConfig ("off" switches a guard off). 0
        for `fine_tune_seconds`, `fine_tune_steps` or `learning_rate` means the method's own. `accelerator`,
        `accelerators`, `node_selector` and `tolerations` say where the fine-tuning runs on a cluster.
        """
        placement = {
            "accelerator": accelerator,
            "accelerators": accelerators,
            "node_selector": node_selector,
            "tolerations": tolerations,
        }
        configure = _configurer(options, placement)
        identity = {
            "run_key": run_key,
            "model_name": model_name,
            "champion": champion,
            "reason": reason,
            "traceparent": traceparent,
            "drift_event": drift_event,
            "pipeline_run": dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        }
        report = components.report(**identity)
        configure(report, "report")
        with dsl.ExitHandler(report, name="run"):
            collect = components.collect_data(
                **identity, since=since, until=until, sizes=data, replay_share=replay_share, seed=seed
            )
            run, holdout = collect.outputs["Output"], collect.outputs["holdout"]
            tune = components.fine_tune(
                run=run,
                train=collect.outputs["train"],
                method=fine_tune_method,
                seconds=fine_tune_seconds,
                steps=fine_tune_steps,
                learning_rate=learning_rate,
                replay_share=replay_share,
                blend=blend,
                seed=seed,
                lora=lora,
            )
            challenger = tune.outputs["challenger"]
            evaluate = components.evaluate(run=run, challenger=challenger, holdout=holdout, timed=timed_questions)
            decide = components.gate(run=run, results=evaluate.outputs["results"], options=gate)
            configure(evaluate, "evaluate")
            configure(decide, "gate")
            # Waiting does not bring more feedback, and a repeated training costs minutes.
            configure(collect, "collect-data", retries=1)
            configure(tune, "fine-tune", retries=1)
            with dsl.If(decide.outputs["Output"] == True, name="passed"):  # noqa: E712 - the compiler's expression
                measure = components.measure_reference(run=run, challenger=challenger, holdout=holdout)
                register = components.register(
                    run=run,
                    challenger=challenger,
                    holdout=holdout,
                    reference=measure.outputs["reference"],
                    scores=evaluate.outputs["scores"],
                )
                configure(measure, "reference")
                configure(register, "register")

    return retraining


def compile_pipeline(path: Path, options: ClusterOptions | None = None) -> None:
    """Writes the pipeline's IR YAML and, as its second document, the platform spec; the same bytes each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(pipeline(options or ClusterOptions()), str(path))


def _configurer(options: ClusterOptions, placement: dict[str, Any]) -> Callable[..., None]:
    def configure(task: dsl.PipelineTask, name: Step, retries: int = RETRIES) -> None:
        """Never cached (see components.py); retried, because every step can be repeated, even when it is done."""
        task.set_caching_options(False)
        task.set_retry(retries, backoff_duration=BACKOFF, backoff_factor=2.0)
        apply_pod_spec(task, name, options, placement)

    return configure

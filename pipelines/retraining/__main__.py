"""python -m pipelines.retraining compile OUT.yaml [--image …] [--accelerator …]"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.retraining.pod_spec import ClusterOptions

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    from pipelines.retraining.pipeline import compile_pipeline

    try:
        compile_pipeline(args.out, _options(args))
    except ValueError as error:
        parser.error(str(error))
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipelines.retraining", description="The retraining pipeline.")
    commands = parser.add_subparsers(required=True, dest="command")
    command = commands.add_parser("compile", help="write the pipeline as Kubeflow's IR YAML")
    add = command.add_argument
    add("out", type=Path, metavar="OUT.yaml")
    add("--image", help="the image of every step")
    add("--config-map", help="the ConfigMap of the steps' environment (loop)")
    add("--secret", help="the Secret of the database's address (loop)")
    add("--cache-claim", metavar="PVC", help="keep downloaded versions in this PersistentVolumeClaim")
    add("--pull-policy", choices=("Always", "IfNotPresent", "Never"))
    add("--pull-secret", action="append", dest="pull_secrets", metavar="SECRET", help="to pull the image; repeatable")
    add("--accelerator", metavar="RESOURCE", help="default of the parameter: nvidia.com/gpu, amd.com/gpu, …")
    add("--accelerators", type=int, metavar="N", help="how many of them (1)")
    add("--node-selector", action="append", type=_label, metavar="KEY=VALUE", help="repeatable")
    add("--toleration", action="append", type=_toleration, dest="tolerations", metavar="KEY[=VALUE][:EFFECT]",
        help="repeatable; without =VALUE any value is tolerated")  # fmt: skip
    add("--placed", action="append", choices=("fine-tune", "evaluate", "reference"), metavar="STEP",
        help="a step that gets accelerator, node selector and tolerations (fine-tune); repeatable")  # fmt: skip
    add("--size", choices=("1.5b", "tiny"), default="1.5b", help="the model that CPU, memory and disk are for (1.5b)")
    add("--fine-tune-cpu", metavar="N", help="CPUs that fine-tuning requests and is limited to (1.5b: 4, 8)")
    add(
        "--fine-tune-memory",
        metavar="SIZE",
        help="memory that fine-tuning requests and is limited to (1.5b: 12Gi, 16Gi)",
    )
    add("--fine-tune-seconds", type=int, metavar="N", help="seconds until fine-tuning is ended (1.5b: 21600)")
    return parser


def _options(args: argparse.Namespace) -> ClusterOptions:
    from pipelines.retraining.pod_spec import MODEL_SIZES, ClusterOptions, Placement

    as_given = ("image", "config_map", "secret", "cache_claim", "pull_policy")
    given: dict[str, Any] = {name: value for name in as_given if (value := getattr(args, name)) is not None}
    given |= {name: tuple(value) for name in ("pull_secrets", "placed") if (value := getattr(args, name))}
    place: dict[str, Any] = {
        name: value for name in ("accelerator", "accelerators", "tolerations") if (value := getattr(args, name))
    }
    fine_tune = MODEL_SIZES[args.size]["fine-tune"]
    if args.fine_tune_cpu:
        fine_tune = replace(fine_tune, cpu=(args.fine_tune_cpu, args.fine_tune_cpu))
    if args.fine_tune_memory:
        fine_tune = replace(fine_tune, memory=(args.fine_tune_memory, args.fine_tune_memory))
    if args.fine_tune_seconds:
        fine_tune = replace(fine_tune, seconds=args.fine_tune_seconds)
    placement = Placement(**place, node_selector=dict(args.node_selector or ()))
    resources = MODEL_SIZES[args.size] | {"fine-tune": fine_tune}
    return ClusterOptions(**given, placement=placement, resources=resources)


def _label(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, found {text!r}")
    return key, value


def _toleration(text: str) -> dict[str, Any]:
    rest, _, effect = text.rpartition(":") if ":" in text else (text, "", "")
    key, valued, value = rest.partition("=")
    if not key or (effect and effect not in EFFECTS):
        raise argparse.ArgumentTypeError(f"must be KEY[=VALUE][:{'|'.join(EFFECTS)}], found {text!r}")
    toleration = {"key": key, "operator": "Equal", "value": value} if valued else {"key": key, "operator": "Exists"}
    return {**toleration, **({"effect": effect} if effect else {})}


if __name__ == "__main__":
    raise SystemExit(main())

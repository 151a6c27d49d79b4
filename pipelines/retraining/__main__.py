"""python -m pipelines.retraining compile OUT.yaml"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipelines.retraining", description="The retraining pipeline.")
    commands = parser.add_subparsers(required=True, dest="command")
    command = commands.add_parser("compile", help="write the pipeline as Kubeflow's IR YAML")
    command.add_argument("out", type=Path, metavar="OUT.yaml")
    args = parser.parse_args(argv)
    from pipelines.retraining.pipeline import compile_pipeline

    compile_pipeline(args.out)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

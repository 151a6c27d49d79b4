"""Prepares the registry for the loop: the model, a version 1, the alias champion, the webhook.

    python -m pipelines.bootstrap --source models/tiny --webhook-url http://rollout.coding-mcqa.svc.cluster.local/

Reads MLFLOW_TRACKING_URI, MCQA_REGISTERED_MODEL and MCQA_WEBHOOK_SECRET. Safe to run at every start, and to kill at any
point: each part is looked up before it is made.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.environment import text
from common.errors import SettingError, UnavailableError
from common.mlflow.registry import ModelRegistry
from common.mlflow.runs import BOOTSTRAP_KEY
from common.names import CHAMPION, MODEL
from pipelines.registration import versions, webhooks
from predictor.storage.errors import StorageError
from predictor.storage.resolver import resolve

SUBJECTS_TAG = "subjects"
WEBHOOK = "rollout"


def bootstrap(environ: Mapping[str, str], source: str, webhook_url: str | None = None) -> list[str]:
    """Makes what is missing and returns a line for each thing done. `source` as in predictor.storage.

    Raises SettingError, StorageError or UnavailableError, each with one line.
    """
    uri = text(environ, "MLFLOW_TRACKING_URI")
    done = []
    with ModelRegistry(environ, text(environ, "MCQA_REGISTERED_MODEL", MODEL)) as registry:
        assert isinstance(registry, ModelRegistry)
        if webhook_url is not None:
            # First, so that no change of an alias goes unnoticed, not even the first.
            secret = text(environ, "MCQA_WEBHOOK_SECRET")
            done.append(f"webhook {WEBHOOK} {webhooks.ensure(registry, WEBHOOK, webhook_url, secret)}: {webhook_url}")
        model = registry.model()
        if model is not None and CHAMPION in model.aliases:
            return [*done, f"{registry.model_name} version {model.aliases[CHAMPION]} is champion"]
        first = versions.find(registry, BOOTSTRAP_KEY)
        if first is None:
            if others := registry.versions(1):
                raise SettingError(
                    f"{registry.model_name} has no champion, and version {others[0].version} was not made here: "
                    f"set the alias {CHAMPION!r} on the version to serve"
                )
            with tempfile.TemporaryDirectory(prefix="mcqa-bootstrap-") as folder:
                first = versions.register(registry, uri, _candidate(source, Path(folder)))
            done.append(f"{registry.model_name} version {first.version} registered from {source}")
        registry.set_alias(CHAMPION, first.version)
        return [*done, f"{registry.model_name} version {first.version} is champion now"]


def _candidate(source: str, work: Path) -> versions.Candidate:
    """The version in `source`, with a drift reference if it has none."""
    from pipelines import drift_reference
    from pipelines.bank import TRAINING_SUBJECTS

    folder = resolve(source)
    if not (folder / drift_reference.FILE).is_file():
        versions.link_files(folder, work)
        drift_reference.write(work, drift_reference.bank_questions())
        folder = work
    tags = {"source": source, SUBJECTS_TAG: ",".join(TRAINING_SUBJECTS)}
    return versions.Candidate(folder, BOOTSTRAP_KEY, tags=tags, description=f"Registered from {source}.")


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """0 when the registry is prepared, 1 with one line when it cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.bootstrap", description="Prepare the registry for the loop."
    )
    parser.add_argument("--source", required=True, help="the first version: a folder, hf://owner/model or mlflow://…")
    parser.add_argument("--webhook-url", help="the rollout function's webhook receiver")
    args = parser.parse_args(argv)
    try:
        for line in bootstrap(environ, args.source, args.webhook_url):
            print(line)
    except (SettingError, StorageError, UnavailableError, ValueError) as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Validates each rendered document against deploy/schemas, as strictly as a cluster or more."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema

from tools.manifests.render import Document, RenderError, Target, render, targets
from tools.manifests.schemas import SCHEMAS


def problems(document: Mapping[str, Any]) -> list[str]:
    """What is wrong with a document, a line each; a field that its schema does not name is wrong."""
    kind = f"{document.get('apiVersion')}/{document.get('kind')}"
    validator = _validator(kind)
    if validator is None:
        return [f"no schema of {kind}; `scripts/tools schemas` adds one"]
    errors = sorted(validator.iter_errors(document), key=lambda error: error.json_path)
    return [f"{error.json_path}: {error.message[:200]}" for error in errors]


def duplicates(documents: list[Document]) -> list[str]:
    """Names that two documents of one rendering have."""
    counted = Counter(
        (document["apiVersion"].rpartition("/")[0], document["kind"], document["metadata"]["name"])
        for document in documents
    )
    return [f"{kind} {name}: written {times} times" for (_, kind, name), times in counted.items() if times > 1]


def check(target: Target) -> tuple[int, list[str]]:
    """How many documents it has, and what is wrong with them."""
    documents = render(target)
    mistakes = [
        f"{document.get('kind')} {document.get('metadata', {}).get('name')}: {problem}"
        for document in documents
        for problem in problems(document)
    ]
    return len(documents), mistakes + duplicates(documents)


def validate(folders: Sequence[str]) -> bool:
    """Whether the folders, or everything that a person could apply, are valid; a line for each mistake."""
    chosen = [Target(name.rstrip("/"), Path(name).resolve()) for name in folders] or targets()
    documents = mistakes = 0
    for target in chosen:
        try:
            count, wrong = check(target)
        except RenderError as error:
            count, wrong = 0, [str(error)]
        documents, mistakes = documents + count, mistakes + len(wrong)
        print(f"{'✗' if wrong else '✓'} {target.name}: {count} documents", flush=True)
        for mistake in wrong:
            print(f"    {mistake}")
    verdict = f"{mistakes} mistakes" if mistakes else "all valid"
    print(f"{documents} documents of {len(chosen)} kustomizations: {verdict}")
    return not mistakes


@lru_cache
def _schemas() -> dict[str, tuple[Document, Document]]:
    """(schema, the definitions that it refers to) by `group/version/Kind`."""
    schemas: dict[str, tuple[Document, Document]] = {}
    for path in sorted(SCHEMAS.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        schemas |= {name: (schema, content["$defs"]) for name, schema in content["kinds"].items()}
    return schemas


@lru_cache
def _validator(kind: str) -> jsonschema.Draft202012Validator | None:
    if kind not in _schemas():
        return None
    schema, definitions = _schemas()[kind]
    return jsonschema.Draft202012Validator({**schema, "$defs": definitions})

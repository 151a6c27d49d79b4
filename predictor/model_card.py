"""`card.json` in a version's folder: the model card of a demonstration version."""

from __future__ import annotations

import json
from pathlib import Path

from common.model_card import SCHEMA, ModelCard
from predictor.errors import VersionError
from predictor.version_files import has_file, read_json

FILE = "card.json"


def read_card(folder: Path) -> ModelCard | None:
    """The folder's card, None if it has none; VersionError when the file is broken."""
    path = folder / FILE
    if not has_file(path):
        return None
    card = ModelCard.parse(read_json(path))
    if card is None:
        raise VersionError(f"{path} is not a card of schema {SCHEMA}: remove it, or see common/model_card.py")
    return card


def write_card(card: ModelCard, folder: Path) -> Path:
    path = folder / FILE
    path.write_text(json.dumps(card.to_dict(), indent=2) + "\n", encoding="utf-8")
    return path

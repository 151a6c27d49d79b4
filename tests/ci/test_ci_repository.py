"""What GitHub reads of the repository: the bot's configuration, the issue forms, the owners."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ci_commands import ROOT

GITHUB = ROOT / ".github"
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")


def errors(path: Path, schema: str) -> list[str]:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / f"{schema}.json"
    document = yaml.safe_load(path.read_text())
    return [
        error.message for error in jsonschema.Draft7Validator(json.loads(vendored.read_text())).iter_errors(document)
    ]


def test_the_bots_configuration_fits_its_schema() -> None:
    assert errors(GITHUB / "dependabot.yml", "dependabot") == []


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_fits_its_schema(path: Path) -> None:
    assert errors(path, "github-issue-forms") == []


def test_the_choice_of_forms_fits_its_schema() -> None:
    assert errors(GITHUB / "ISSUE_TEMPLATE" / "config.yml", "github-issue-config") == []


def test_the_bot_knows_the_bounds_of_the_project() -> None:
    """What pyproject.toml excludes for a reason is not proposed every week."""
    update = next(u for u in yaml.safe_load((GITHUB / "dependabot.yml").read_text())["updates"] if "ignore" in u)
    ignored = {entry["dependency-name"] for entry in update["ignore"]}
    project = (ROOT / "pyproject.toml").read_text()
    declared = set(re.findall(r'^    "([\w-]+)', project, re.MULTILINE))
    assert ignored <= declared
    patterns: list[Any] = [name for group in update["groups"].values() for name in group.get("patterns", ())]
    assert {name for name in patterns if "*" not in name} <= declared


def test_owned_paths_exist() -> None:
    lines = [line.split() for line in (GITHUB / "CODEOWNERS").read_text().splitlines() if line and line[0] != "#"]
    for pattern, *owners in lines:
        assert owners
        assert list(ROOT.glob(pattern.strip("/"))), pattern


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_links_of_the_pages_exist(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / target).exists(), target

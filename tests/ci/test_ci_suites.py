"""The two suites: every test is in one of them, by patterns that each match something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from suites import INTEGRATION, UNIT, is_integration

TESTS = Path(__file__).resolve().parents[1]
FILES = [path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")]


@pytest.mark.parametrize("pattern", [*INTEGRATION, *UNIT])
def test_every_pattern_matches_a_file(pattern: str) -> None:
    folder = TESTS / Path(pattern).parts[0]
    if not folder.exists():
        pytest.skip(f"there is no {folder.name} here")
    assert any(path.match(pattern) for path in FILES)


def starts_something(text: str) -> bool:
    """By what a module imports of the helpers that start servers; ROOT is a path."""
    helpers = "servers|mlflow_server|function_server|kfp_server|loop_parts|rollout_loop"
    imported = re.findall(rf"(?m)^\s*(?:import|from) (?:{helpers})(?: import (.+))?$", text)
    return any(names != "ROOT" for names in imported) or "Popen(" in text


def test_modules_that_start_processes_are_integration_tests() -> None:
    """The linters that tests/ci runs are none of these: they end by themselves."""
    others = [path for path in FILES if path.name != Path(__file__).name]
    wrong = [str(one) for one in others if starts_something((TESTS / one).read_text()) and not is_integration(one)]
    assert wrong == []

"""README.md shows what its commands print."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
specification = importlib.util.spec_from_file_location("readme", ROOT / "tools" / "readme.py")
readme = importlib.util.module_from_spec(specification)
specification.loader.exec_module(readme)

BLOCKS = [(block["command"], block["output"]) for block in readme.BLOCK.finditer(readme.README.read_text())]


@pytest.fixture(scope="module")
def url():
    with readme.server() as url:
        yield url


def test_there_are_commands_with_output():
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize(("command", "output"), BLOCKS, ids=[command[:40] for command, _ in BLOCKS])
def test_a_command_prints_what_the_readme_shows(url, command, output):
    assert readme.shape(readme.run(command, url)) == readme.shape(output)


def test_the_files_it_links_to_exist():
    import re

    for target in re.findall(r"\]\(([^)#]+)\)", readme.README.read_text()):
        assert target.startswith("http") or (ROOT / target).exists(), target

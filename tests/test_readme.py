"""README.md and the pages in docs/ show what their commands print."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import readme

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = [
    pytest.param(block["command"], block["output"], id=f"{path.stem}: {block['command'][:40]}")
    for path in readme.pages()
    for block in readme.BLOCK.finditer(path.read_text())
]
README = readme.README.read_text()


@pytest.fixture(scope="module")
def url(processes: None) -> Iterator[str]:
    with readme.server() as url:
        yield url


def test_there_are_commands_with_output() -> None:
    assert len(BLOCKS) >= 6
    assert readme.BLOCK.search(README)


@pytest.mark.parametrize(("command", "output"), BLOCKS)
def test_a_command_prints_what_the_page_shows(url: str, command: str, output: str) -> None:
    assert readme.shape(readme.run(command, url)) == readme.shape(output)


def test_the_files_it_links_to_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_two_commands_set_everything_up() -> None:
    """The ones that .ci/run calls; whoever wants to test a checkout needs no other."""
    first = re.search(r"```sh\n(.*?)```", README, re.DOTALL)
    assert first is not None
    assert [line.split("#")[0].strip() for line in first[1].splitlines()] == ["make run", "make test"]
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_it_fits_two_hundred_lines() -> None:
    assert len(README.splitlines()) < 200

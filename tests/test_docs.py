"""The pages in docs/: links, and what they name in the repository."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from mcqa.verbs import app as verbs
from tools.cli import app as tools

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
README = ROOT / "README.md"
WRITTEN = [path for path in [README, *PAGES] if not path.read_text().startswith("<!-- Generated")]
RECORDS = DOCS / "records"

FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
TOP_LEVEL = {path.name for path in ROOT.iterdir()}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def current(pages: list[Path]) -> list[Path]:
    """Without the dated records, which keep the names of their time."""
    return [path for path in pages if RECORDS not in path.parents]


def anchors(path: Path) -> set[str]:
    """The ids of a page's headings, as Python-Markdown and GitHub make them for ASCII headings."""
    headings = re.findall(r"^#{1,6} (.+)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", text.replace("`", "")).strip().lower()) for text in headings}


@pytest.mark.parametrize("page", [README, *PAGES], ids=relative)
def test_a_link_within_the_repository_has_its_page_and_its_heading(page: Path) -> None:
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_a_page_links_to_nothing_outside_docs(page: Path) -> None:
    """Those links would be broken on the site."""
    for target in re.findall(r"\]\(([^)#\s]+)", FENCE.sub("", page.read_text())):
        assert target.startswith("http") or DOCS in (page.parent / target).resolve().parents, target


def test_every_page_is_on_the_site() -> None:
    named = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text())
    decisions = [relative(page).removeprefix("docs/") for page in (DOCS / "decisions").glob("0*.md")]
    assert set(named) | set(decisions) == {relative(page).removeprefix("docs/") for page in PAGES}


@pytest.mark.parametrize("page", current(WRITTEN), ids=relative)
def test_a_path_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"`([\w.-]+/[\w./-]*)`", text) + re.findall(r"(?:`|^|&& )(scripts/[\w-]+)", text, re.MULTILINE)
    for name in named:
        if "NAME" not in name and name.split("/")[0] in TOP_LEVEL and not name.startswith((".venv", ".local", "build")):
            assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", current(WRITTEN), ids=relative)
def test_a_command_of_the_tools_that_a_page_names_exists(page: Path) -> None:
    app: Any = typer.main.get_command(tools)
    named = set(re.findall(r"scripts/tools ([a-z][a-z-]*)", page.read_text()))
    assert named <= set(app.commands)


@pytest.mark.parametrize("page", current(WRITTEN), ids=relative)
def test_a_make_verb_that_a_page_names_exists(page: Path) -> None:
    verbs = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    named = re.findall(r"(?:`|^|&& |; )(?:[A-Z_]+=\S+ )*make ([a-z][a-z-]*)(?= |`|$)", text, re.MULTILINE)
    assert set(named) <= verbs


@pytest.mark.parametrize("page", current(WRITTEN), ids=relative)
def test_a_verb_of_mcqa_that_a_page_names_exists(page: Path) -> None:
    root: Any = typer.main.get_command(verbs)
    for words in re.findall(r"(?:`|^|&& )mcqa ([a-z][a-z-]*(?: [a-z][a-z-]*)?)", page.read_text(), re.MULTILINE):
        first, _, second = words.partition(" ")
        assert first in root.commands, words
        assert not root.commands[first].hidden, words
        if second and hasattr(root.commands[first], "commands"):
            assert second in root.commands[first].commands, words


@pytest.mark.parametrize("page", current(WRITTEN), ids=relative)
def test_a_variable_that_a_page_names_is_read_somewhere(page: Path, sources: str) -> None:
    for name in set(re.findall(r"\bMCQA_[A-Z_]*[A-Z]\b", page.read_text())):
        assert name in sources, name


@pytest.fixture(scope="module")
def sources() -> str:
    """The text of everything in the product that reads a variable."""
    folders = (
        "common",
        "predictor",
        "functions",
        "pipelines",
        "local",
        "mcqa",
        "ui",
        "scripts",
        "tools",
        "knative",
    )
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files if path.suffix != ".pyc"]
    from predictor.serving.settings import ENV_PREFIX, Settings

    images = (ROOT / "tests" / "images_run.py").read_text(encoding="utf-8")
    return "\n".join([*texts, images, *(ENV_PREFIX + name.upper() for name in Settings.__dataclass_fields__)])


def test_the_site_fetches_nothing_from_outside() -> None:
    theme = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["theme"]
    assert theme["font"] is False


def test_what_the_glossary_names_in_the_code_is_there(sources: str) -> None:
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    named = [(term, name) for term, cell in rows for name in re.findall(r"`([^`]+)`", cell)]
    assert len(named) > 50
    for term, name in named:
        assert (ROOT / name).exists() or re.search(rf"\b{re.escape(name)}\b", sources), (term, name)

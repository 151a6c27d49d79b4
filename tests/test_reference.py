"""The pages in docs/reference are what `python -m tools.reference --write` writes."""

import functools

import pytest

from tools import reference

content = functools.cache(reference.content)


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_is_current(name: str) -> None:
    path = reference.FOLDER / name
    assert path.read_text(encoding="utf-8") == content(name), "run .venv/bin/python -m tools.reference --write"


def test_every_setting_of_the_functions_is_explained() -> None:
    settings = next(document for document in reference.manifests() if document["metadata"]["name"] == "loop")
    page = content("settings.md")
    assert [name for name in settings["data"] if f"| `{name}` |" not in page] == []


def test_every_verb_is_there_with_its_options() -> None:
    page = content("command-line.md")
    for verb in ("ask", "up", "rollout promote", "dead-letters replay", "pipeline run"):
        assert f"\n## mcqa {verb}\n" in page
    assert "`--debias none&#124;prior&#124;cyclic`" in page


def test_an_events_receivers_are_those_whose_triggers_let_it_through() -> None:
    page = content("events.md")
    [line] = [line for line in page.splitlines() if line.startswith("| `dev.cdeventsx.mcqa-drift.detected`")]
    assert line.split(" | ")[3] == "notify, retrain"

"""The pictures in docs/diagrams are up to date."""

from pathlib import Path

import pytest

from tools import diagrams

SOURCES = sorted(diagrams.FOLDER.glob("*.d2"))


def test_every_source_has_a_picture_and_every_picture_a_source() -> None:
    assert {source.stem for source in SOURCES} == {picture.stem for picture in diagrams.FOLDER.glob("*.svg")}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_picture_is_for_light_and_dark_pages_and_fetches_nothing(source: Path) -> None:
    svg = source.with_suffix(".svg").read_text()
    assert "prefers-color-scheme:dark" in svg.replace(" ", "")
    assert "@import" not in svg
    assert "url(http" not in svg.replace('"', "")


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_picture_is_what_its_source_says(source: Path) -> None:
    d2 = diagrams.program()
    if d2 is None:
        pytest.skip("d2 is not installed (the extra docs)")
    assert source.with_suffix(".svg").read_text() == diagrams.render(d2, source)

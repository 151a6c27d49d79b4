"""What of an artifact is found, and what a browser takes its file for."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local.pipelines.artifact_files import BINARY, SNIFFED, TEXT, find, media_type
from local.pipelines.task_values import Artifact

HTML, MARKDOWN = "text/html; charset=utf-8", "text/markdown; charset=utf-8"


def artifact(kind: str, place: str) -> Artifact:
    return Artifact(1, "run", 1, "task", "task", "name", 0, kind, "", {}, place, place, 0, False)


@pytest.mark.parametrize(
    ("kind", "name", "content", "expected"),
    [
        ("system.HTML", "page", b"<script>x</script>", HTML),
        ("system.Markdown", "notes", b"# Notes", MARKDOWN),
        ("system.Dataset", "table", "question,answer\n1,ä".encode(), TEXT),
        ("system.Dataset", "empty", b"", TEXT),
        ("system.Dataset", "code.js", b"alert(1)", TEXT),
        ("system.Dataset", "code.mjs", b"alert(1)", TEXT),
        ("system.Dataset", "style.css", b"* {}", TEXT),
        ("system.Dataset", "data.json", b"{}", TEXT),
        ("system.Dataset", "page.xhtml", b"<html xmlns='http://www.w3.org/1999/xhtml'/>", TEXT),
        ("system.Dataset", "feed.xml", b"<?xml version='1.0'?>", TEXT),
        ("system.Dataset", "report.HTML", b"<h1>", HTML),
        ("system.Dataset", "picture.png", b"\x89PNG\r\n\x1a\n\0", "image/png"),
        ("system.Dataset", "picture.svg.gz", b"\x1f\x8b\0", BINARY),
        ("system.Model", "weights", b"\0\1\2", BINARY),
        ("system.Model", "latin-1", b"\xe9t\xe9", BINARY),
        ("system.Dataset", "long", b"a" * (SNIFFED - 1) + "€€".encode(), TEXT),
        ("system.Dataset", "long binary", b"a" * (SNIFFED - 9) + b"\xff" * 20, BINARY),
    ],
)
def test_the_type_of_a_file(tmp_path: Path, kind: str, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert media_type(artifact(kind, name), name, tmp_path / name) == expected


def test_a_file_within_an_html_artifacts_folder_is_not_html_by_that(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("<script>")
    assert media_type(artifact("system.HTML", "folder"), "folder/notes", tmp_path / "notes") == TEXT


def test_only_files_and_folders_are_found(tmp_path: Path) -> None:
    """Whoever opens a pipe waits for somebody to write into it."""
    (tmp_path / "out" / "inner").mkdir(parents=True)
    (tmp_path / "out" / "file").write_text("x")
    os.mkfifo(tmp_path / "out" / "pipe")
    (tmp_path / "out" / "link").symlink_to("pipe")
    os.mkfifo(tmp_path / "alone")
    folder = Artifact(1, "run", 1, "task", "task", "name", 0, "system.Model", "", {}, "out", "out", 0, True)
    view: Any = SimpleNamespace(folder=tmp_path, artifacts=[folder, artifact("system.Dataset", "alone")])
    found = {place: find(view, f"out/{place}") for place in ("file", "inner", "pipe", "link")}
    assert [place for place, each in found.items() if each is not None and each[1] is not None] == ["file", "inner"]
    assert find(view, "alone") == (view.artifacts[1], None)

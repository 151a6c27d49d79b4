"""What users and services write is never Markdown or HTML: Streamlit's own elements get texts of the catalogue only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "ui"
FILES = sorted(FOLDER.rglob("*.py"))

# Elements that read Markdown or HTML in their text or label, by the place of that argument.
MARKDOWN = {
    "title", "header", "subheader", "caption", "markdown", "write", "info", "success", "warning", "error", "toast",
    "button", "form_submit_button", "download_button", "link_button", "checkbox", "toggle", "radio", "selectbox",
    "multiselect", "slider", "select_slider", "number_input", "text_input", "text_area", "date_input", "time_input",
    "expander", "popover", "status", "metric", "pills", "segmented_control", "tabs", "dialog", "badge", "page_link",
    "file_uploader", "data_editor",
}  # fmt: skip
FORBIDDEN = {"html", "table", "write_stream", "iframe", "exception", "write", "markdown", "mermaid_chart", "latex"}
TEXTS = {"t", "count"}


def _is_catalogue(node: ast.expr) -> bool:
    """A call of `t` or `count`, a list or a choice of such, or an argument that a shared element passes on."""
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return name in TEXTS
        case ast.List(elts=texts) | ast.Tuple(elts=texts):
            return all(_is_catalogue(text) for text in texts)
        case ast.IfExp(body=one, orelse=other):
            return _is_catalogue(one) and _is_catalogue(other)
        case ast.Name(id="label" | "title"):  # ui.actions.action: its callers are held to it below
            return True
    return False


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_streamlit_gets_texts_of_the_catalogue_only(file: Path) -> None:
    wrong = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(attr=name), args=arguments):
                if name in FORBIDDEN and _is_streamlit(node.func):
                    wrong.append(f"line {node.lineno}: {name}")
                elif name in MARKDOWN and arguments and _is_streamlit(node.func) and not _is_catalogue(arguments[0]):
                    wrong.append(f"line {node.lineno}: {ast.unparse(node)[:80]}")
            case ast.Call(func=ast.Name(id="action"), args=[label, *_], keywords=words):
                titles = [word.value for word in words if word.arg == "title"]
                wrong += [f"line {node.lineno}: action" for text in (label, *titles) if not _is_catalogue(text)]
    assert wrong == []


def _is_streamlit(function: ast.expr) -> bool:
    """`st.…`, or a method of a column, a container or a tab; not `elements.…`."""
    return isinstance(function, ast.Attribute) and not (
        isinstance(function.value, ast.Name) and function.value.id in ("elements", "alt", "logging", "_logger")
    )

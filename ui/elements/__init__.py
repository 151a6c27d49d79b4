"""What pages show: tables, sentences and notices whose texts may come from anybody.

Streamlit reads Markdown in most of its own elements, labels included. These are components of ours that only ever set
`textContent`: what users, models and services write stays text. They give a screen reader real tables, show times in
the viewer's zone, and keep both themes' colours.
"""

from ui.elements.cells import Badge, Bar, Cell, Code, Link, Strong, Time
from ui.elements.freshness import freshness
from ui.elements.keyboard import keyboard
from ui.elements.picture import Arrow, Node, picture
from ui.elements.view import details, heading, notice, paragraph, table
from ui.elements.writing import writing

__all__ = [
    "Arrow",
    "Badge",
    "Bar",
    "Cell",
    "Code",
    "Link",
    "Node",
    "Strong",
    "Time",
    "details",
    "freshness",
    "heading",
    "keyboard",
    "notice",
    "paragraph",
    "picture",
    "table",
    "writing",
]

"""Every node of one run's graph in Kubeflow's UI, layer by layer: its panel, a step's log, an artifact's drawing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.kubeflow_ui_browser import Ui

Layers = tuple[str, ...]
"""The groups that were opened, from the root on."""
Visit = tuple[str, str, Callable[[], None]]
"""The node, what is done there, and the doing of it."""
MAX_LAYERS = 40


def visit_run(ui: Ui, run: str) -> Iterator[Visit]:
    """The nodes of a run. What is drawn in a group is known once it is open."""
    waiting: list[Layers] = [()]
    opened = 0
    while waiting and opened < MAX_LAYERS:
        layers = waiting.pop(0)
        opened += 1
        _open(ui, run, layers)
        for kind, name in _nodes(ui):
            where = " › ".join((*layers, name))
            if kind == "SUB_DAG":
                waiting.append((*layers, name))
                yield where, "a group: its state, inputs and outputs", lambda: _group(ui, run, layers, name)  # noqa: B023
            elif kind == "EXECUTION":
                yield where, "a step: state, inputs, outputs, log", lambda: _step(ui, run, layers, name)  # noqa: B023
            elif name.startswith("pipelinechannel--"):
                done = "what a group was given: drawn; the UI has its content only where it was made"
                yield where, done, lambda: _given(ui, run, layers, name)  # noqa: B023
            else:
                yield where, "an artifact: its address, its drawing", lambda: _artifact(ui, run, layers, name)  # noqa: B023


def _open(ui: Ui, run: str, layers: Layers) -> None:
    ui.open(f"/runs/details/{run}")
    ui.page.locator(".react-flow__node").first.wait_for()
    ui.page.wait_for_load_state("networkidle")
    ui.page.wait_for_timeout(700)
    for name in layers:
        before = _labels(ui)
        ui.node(name).get_by_test_id("expand-button").dispatch_event("click")
        for _ in range(50):
            ui.page.wait_for_timeout(200)
            if (now := _labels(ui)) and now != before:
                break
        ui.page.wait_for_timeout(500)


def _labels(ui: Ui) -> list[str]:
    return [text.strip() for text in ui.page.locator(".react-flow__node").all_inner_texts()]


def _nodes(ui: Ui) -> list[tuple[str, str]]:
    found = []
    for node in ui.page.locator(".react-flow__node").all():
        kind = (node.get_attribute("class") or "").partition("react-flow__node-")[2].split()[0]
        found.append((kind, node.inner_text().strip()))
    return found


def _group(ui: Ui, run: str, layers: Layers, name: str) -> None:
    _open(ui, run, layers)
    assert ui.state_of(name), "no state is drawn"
    ui.node(name).dispatch_event("click")
    ui.sees("Input/Output")


def _step(ui: Ui, run: str, layers: Layers, name: str) -> None:
    _open(ui, run, layers)
    assert ui.state_of(name), "no state is drawn"
    ui.node(name).dispatch_event("click")
    ui.sees("Input/Output")
    ui.page.wait_for_timeout(600)
    assert not ui.page.get_by_text("Error in retrieving").count(), "an artifact cannot be shown"
    ui.shoot("step " + " ".join((*layers, name)))
    ui.tab("Task Details")
    ui.sees("Status")
    ui.tab("Logs")
    ui.page.wait_for_timeout(500)
    assert not ui.page.get_by_text("Failed to retrieve pod logs").count(), "the log cannot be shown"
    ui.shoot("log " + " ".join((*layers, name)))


def _given(ui: Ui, run: str, layers: Layers, name: str) -> None:
    _open(ui, run, layers)
    ui.node(name).dispatch_event("click")
    ui.sees("Content is not available yet")


def _artifact(ui: Ui, run: str, layers: Layers, name: str) -> None:
    _open(ui, run, layers)
    ui.node(name).dispatch_event("click")  # where a control of the graph may lie above it
    ui.sees("Artifact Info")
    ui.page.wait_for_timeout(600)
    ui.shoot("artifact " + " ".join((*layers, name)))
    ui.tab("Visualization")
    ui.page.wait_for_timeout(700)
    assert not ui.page.get_by_text("Error in").count(), "its drawing cannot be shown"
    ui.shoot("drawing " + " ".join((*layers, name)))

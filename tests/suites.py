"""Unit and integration tests, told apart by fixtures: what starts a process or opens a socket asks for `processes`.

A pytest plugin; tests/conftest.py imports its hooks. A unit test that does either fails at that line all the same: an
audit hook sees every process and socket. `-m integration` and `-m "not integration"` choose.

MCQA_TESTS_OBSERVE=FILE refuses nothing and records, as JSON lines, which test or fixture started or opened it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

WATCHED = frozenset(
    {
        "subprocess.Popen",
        "os.system",
        "os.posix_spawn",
        "os.fork",
        "os.forkpty",
        "os.exec",
        "socket.connect",
        "socket.bind",
    }
)
OBSERVED = os.environ.get("MCQA_TESTS_OBSERVE")


class _Running:
    """The test that runs, whether it is a unit test, and the fixtures that are being set up for it.

    With each fixture: whether it is one that may start nothing, though the test may. A session's fixtures are set up by
    whichever test comes first, and in the unit tests alone that is another one.
    """

    def __init__(self) -> None:
        self.test = ""
        self.unit = False
        self.fixtures: list[tuple[str, bool]] = []
        self.seen: set[str] = set()


_running = _Running()


@pytest.fixture(scope="session")
def processes() -> None:
    """What every test and fixture that starts a process or opens a socket asks for: it makes them integration tests."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "integration: starts processes or opens sockets; the others are unit tests")
    config.pluginmanager.register(_FixtureSetUp(), "processes")
    sys.addaudithook(_audit)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "processes" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.integration)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    _running.test, _running.unit = item.nodeid, item.get_closest_marker("integration") is None
    try:
        return (yield)
    finally:
        _running.unit = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[Any]:
    """After the last test of a module or session the fixtures of others end here: a unit test must let them."""
    _running.unit = False
    return (yield)


class _FixtureSetUp:
    """A plugin of its own: a hook of a conftest.py is not called for the fixtures of a session."""

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[Any]:
        shared = fixturedef.scope in ("session", "package")
        bound = shared and not _asks_for_processes(fixturedef, request)
        _running.fixtures.append((f"{fixturedef.func.__module__}.{fixturedef.argname}", bound))
        try:
            return (yield)
        finally:
            _running.fixtures.pop()


def _asks_for_processes(fixturedef: pytest.FixtureDef[Any], request: Any) -> bool:
    """Itself, or by a fixture that it asks for; these have been set up by now."""
    return fixturedef.argname == "processes" or any(
        _asks_for_processes(request._get_active_fixturedef(name), request)
        for name in fixturedef.argnames
        if name != "request"
    )


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in WATCHED:
        return
    if OBSERVED and _running.test:
        where = _running.fixtures[-1][0] if _running.fixtures else ""
        line = json.dumps({"test": _running.test, "fixture": where, "event": event})
        if line not in _running.seen:
            _running.seen.add(line)
            with open(OBSERVED, "a") as file:  # noqa: PTH123 - Path.open imports within an audit hook
                file.write(line + "\n")
    elif _running.unit or (_running.fixtures and _running.fixtures[-1][1]):
        raise RuntimeError(
            f"a unit test must start no process and open no socket, found {event} {arguments[:2]!r:.200}: "
            "ask for the fixture `processes` in the test or in the fixture that does it"
        )

"""The page in a browser through kills of each part, parts that hang, `down` and `up`, a promotion, and a full disk.

    python -m benchmarks.page_kills [--dir FOLDER]

A loop of its own is brought up; all pages stay open in Chromium and are never reloaded. For each disturbance the table
says for how long the part was missing, after how many seconds a page said so, after how many all of it was right again
and stayed so (after a promotion: the page Loop names the new champion), and how long a page's server had been silent at
most before the page was marked as stale. The exit code is 1 when nothing says so although a part is missing for longer
than LIMIT_SECONDS, when a page is not right again in time, and when a silence as long as that stays unmarked.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.disturbances import Disk, in_background
from common.mlflow.registry import ModelRegistry
from common.names import CHALLENGER, CHAMPION
from local.platform.settings import HOST, Folder
from mcqa import loop_process, targets
from pipelines.registration import versions
from predictor.storage.resolver import resolve
from ui import facts, live
from ui.pages import NAMES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SUPERVISED = ("gateway", "broker", "mlflow", "pipelines", "ui")
PORTS = ("--port", "--api-port", "--broker-port", "--mlflow-port", "--pipelines-port", "--ui-port", "--internal-port")
TICKS = [part for name in ("drift", "rollout", "retrain") for part in ("--schedule", f"{name}=@every 2s")]
DISK_SIZE, FULL_SECONDS = "1500m", 20.0
HANG_SECONDS = 40.0
ROUND_SECONDS = live.SECONDS + facts.SECONDS
"""Within these a page has read everything again."""
PATIENCE = 120.0
LIMIT_SECONDS = 30.0
"""Older facts than this must be marked, and a part that is missing for longer be spoken of: three beats of a page and
what a read may take."""
LATE = "has not answered yet"
"""How a page says, in a warning, that a part hangs: ui/texts/app.toml."""
LOOK = """() => {
  window.mcqaMark?.();
  const notices = '[data-testid="stMainBlockContainer"] :is([role="alert"], .notice.warning)';
  const shown = [...document.querySelectorAll(notices)]
    .filter((each) => each.role === "alert" || each.innerText.includes("LATE"));
  const stale = document.body.classList.contains("mcqa-stale");
  return {
    stale,
    banner: stale ? (document.querySelector(".mcqa-stale-banner")?.textContent ?? "") : "",
    alerts: shown.map((each) => each.innerText.replace(/\\s+/g, " ").trim()).filter((text) => text),
    text: document.querySelector('[data-testid="stMainBlockContainer"]')?.innerText ?? "",
    age: window.mcqaSeen === undefined ? null : (performance.now() - window.mcqaSeen) / 1000,
  };
}""".replace("LATE", LATE)
# Runs before the page's own scripts, and again should the page load itself again.
WATCH = """(() => {
  const mark = () => {
    const text = document.querySelector(".mcqa-freshness")?.textContent;
    if (text && text !== window.mcqaText) { window.mcqaText = text; window.mcqaSeen = performance.now(); }
  };
  window.mcqaMark = mark;
  setInterval(mark, 200);
})()"""


@dataclass(frozen=True, slots=True)
class Look:
    """A page as it is now. `trouble` is what it says is wrong, in one line, "" for nothing; `age` in seconds since it
    was last updated by its server, None before it was at all."""

    stale: bool
    trouble: str
    age: float | None

    def fresh_for(self, seconds: float) -> bool:
        """It was updated within the last `seconds`."""
        return not self.stale and self.age is not None and self.age < seconds


@dataclass
class Watched:
    """An open page, by its name."""

    name: str
    page: Page

    @classmethod
    def open(cls, browser: Browser, address: str, name: str) -> Watched:
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.add_init_script(WATCH)
        page.goto(f"{address}/{name}", timeout=120_000)
        page.get_by_role("heading", level=1).first.wait_for(timeout=120_000)
        return cls(name, page)

    def look(self) -> Look:
        seen = self.page.evaluate(LOOK)
        alerts = seen["alerts"] + ([line] if self.name == "loop" and (line := _fault(seen["text"])) else [])
        trouble = seen["banner"] or (f"{self.name}: {alerts[0]}" if alerts else "")
        return Look(seen["stale"], trouble, seen["age"])


def _fault(text: str) -> str:
    """What the page Loop says in its list and its table: a part that is down or unknown, or a fault for a person."""
    wrong = ("fault\t", "\tdown", "\tstarting", "\tnot known now")
    lines = [line for line in text.splitlines() if any(part in line for part in wrong)]
    return " ".join(lines[0].split()) if lines else ""


@dataclass
class Seen:
    """What became of one disturbance. Seconds from its beginning, None for never; `away` is until the loop was well."""

    name: str
    away: float | None = None
    said: float | None = None
    words: str = ""
    pages: set[str] = field(default_factory=set)
    stale: float | None = None
    right: float | None = None
    last: str = ""
    oldest: float = 0.0

    def observe(self, pages: list[Watched], began: float) -> bool:
        """One look at every page; whether all of it is right."""
        well = True
        for watched in pages:
            found, now = watched.look(), time.monotonic() - began
            if found.stale and self.stale is None:
                self.stale = now
            if not found.stale:
                self.oldest = max(self.oldest, found.age or 0.0)
            if found.trouble:
                well, self.last = False, f"{watched.name}, {now:.0f} s: {found.trouble}"
                self.pages.add(watched.name)
                if self.said is None:
                    self.said, self.words = now, found.trouble
            well = well and found.fresh_for(LIMIT_SECONDS)
        return well

    def problem(self) -> str:
        """What must not be, in one line; "" for nothing."""
        if self.right is None:
            return f"not right again: {self.last or 'a page was not updated'}"
        if self.oldest > LIMIT_SECONDS:
            return f"silent for {self.oldest:.0f} s, not marked"
        if self.away is not None and self.away > LIMIT_SECONDS and (self.said is None or self.said > LIMIT_SECONDS):
            return f"missing for {self.away:.0f} s, said after {_seconds(self.said)}"
        return ""


class PageKills:
    """`path` is the loop's folder; for `steady` seconds a page must stay right to count as such."""

    def __init__(
        self, path: Path, browser: Browser, pages: tuple[str, ...] = NAMES, steady: float = ROUND_SECONDS
    ) -> None:
        self.folder, self.browser, self.names, self.steady = Folder(path), browser, pages, steady
        self.pages: list[Watched] = []
        self.seen: list[Seen] = []

    def open(self) -> None:
        address = f"http://{HOST}:{self.folder.settings().ports.ui}"
        self.pages = [Watched.open(self.browser, address, name) for name in self.names]
        first = Seen("at first")
        self.until_right(first, time.monotonic())
        if first.right is None:
            raise SystemExit(f"the pages are not right to begin with: {first.words or first}")

    def disturb(self, name: str, act: Callable[[], Callable[[], bool]]) -> Seen:
        """`act` returns what is true once the loop itself is well again."""
        seen, began = Seen(name), time.monotonic()
        is_well = act()
        self.until_right(seen, began, is_well)
        figures = f"said after {_seconds(seen.said)}, right after {_seconds(seen.right)}"
        print(f"{name}: {figures}; {seen.last} {seen.problem()}", flush=True)
        self.seen.append(seen)
        return seen

    def until_right(self, seen: Seen, began: float, is_well: Callable[[], bool] = lambda: True) -> None:
        """Right is: the loop is well, and since then every page was updated and says nothing else."""
        well_since: float | None = None
        right_since: float | None = None
        while (now := time.monotonic()) - began < PATIENCE:
            right = seen.observe(self.pages, began)
            if well_since is None and is_well():
                well_since, seen.away = now, now - began
            if well_since is None or not right or not self.updated_since(well_since):
                right_since = None
            else:
                right_since = right_since or now
                if now - right_since >= self.steady:
                    seen.right = right_since - began
                    return
            time.sleep(0.2)

    def updated_since(self, moment: float) -> bool:
        return all(watched.look().fresh_for(time.monotonic() - moment) for watched in self.pages)

    def kill(self, name: str) -> Callable[[], bool]:
        """`name` is a part that is supervised, or a function."""
        before = self.pids(name)
        if not before:
            raise SystemExit(f"{name} does not run")
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        return lambda: bool(set(self.pids(name)) - set(before)) and self.is_ready(name)

    def hang(self, name: str) -> Callable[[], bool]:
        """The part accepts and answers nothing, for HANG_SECONDS or until it is started again."""
        before = _with_children(self.pids(name))  # MLflow's server answers in a child
        _signal(before, signal.SIGSTOP)
        timer = threading.Timer(HANG_SECONDS, _signal, (before, signal.SIGCONT))
        timer.daemon = True
        timer.start()
        return lambda: not timer.is_alive() and self.is_ready(name)

    def pids(self, name: str) -> list[int]:
        status = loop_process.read_status(self.folder)
        if name in SUPERVISED:
            return [part["pid"] for part in status.get("parts", ()) if part["name"] == name and part["pid"]]
        pools = status.get("revisions", ())
        return [pid for pool in pools if pool["revision"].startswith(f"{name}-0") for pid in pool["pids"]]

    def is_ready(self, name: str) -> bool:
        status = loop_process.read_status(self.folder)
        states = {part["name"]: part["state"] for part in status.get("parts", ())}
        return bool(states.get(name, "ready") == "ready")

    def down_and_up(self, away: float) -> Callable[[], bool]:
        """The loop ends in the background of what is watched, is missing for so many seconds, and begins again."""
        script = '"$0" -m mcqa down && sleep "$1" && exec "$0" -m mcqa up'
        environment = {**os.environ, "MCQA_LOCAL_DIR": str(self.folder.path)}
        process = subprocess.Popen(
            ["/bin/sh", "-c", script, sys.executable, str(away)],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return lambda: process.poll() == 0

    def challenge(self) -> str:
        """Registers a copy of the champion as the challenger; its number, once the loop rolls it out."""
        environ = targets.environ(self.folder.path)
        os.environ |= {name: environ[name] for name in ("MLFLOW_TRACKING_URI", "MCQA_CACHE")}
        with (
            ModelRegistry(environ, environ["MCQA_REGISTERED_MODEL"]) as registry,
            tempfile.TemporaryDirectory() as work,
        ):
            model = registry.model()
            if model is None:
                raise SystemExit("no version is registered")
            champion = model.aliases[CHAMPION]
            copy = shutil.copytree(
                resolve(f"mlflow://{environ['MCQA_REGISTERED_MODEL']}/{champion}", cache=None), Path(work) / "version"
            )
            candidate = versions.Candidate(copy, "a copy of the champion")
            version = versions.register(registry, environ["MLFLOW_TRACKING_URI"], candidate).version
            registry.set_alias(CHALLENGER, version)
        deadline = time.monotonic() + PATIENCE
        while not re.search(rf"Challenger\s+version {version}\b", self.text("loop")):
            if time.monotonic() > deadline:
                raise SystemExit(f"version {version} is not rolled out")
            time.sleep(0.5)
        return version

    def promote(self, version: str) -> Callable[[], bool]:
        self.mcqa("rollout", "promote", "--version", version)
        return lambda: bool(re.search(rf"Champion\s+version {version}\b", self.text("loop")))

    def text(self, name: str) -> str:
        """What an open page says."""
        (page,) = (watched.page for watched in self.pages if watched.name == name)
        return str(page.evaluate(LOOK)["text"])

    def mcqa(self, *arguments: str) -> None:
        environment = {**os.environ, "MCQA_LOCAL_DIR": str(self.folder.path), "COLUMNS": "200"}
        command = [sys.executable, "-m", "mcqa", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"mcqa {arguments[0]}: {done.stderr[-2000:]}")


@contextlib.contextmanager
def loop_of_its_own(path: Path) -> Iterator[Folder]:
    """Up on free ports, with a tick every two seconds."""
    kills = PageKills(path, None)  # type: ignore[arg-type]
    try:
        kills.mcqa("up", *(part for flag in PORTS for part in (flag, "0")), *TICKS)
        yield kills.folder
    finally:
        kills.mcqa("down")


def _with_children(pids: list[int]) -> list[int]:
    return [*pids, *(child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True))]


def _signal(pids: list[int], which: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, which)


def fill(disk: Disk) -> Callable[[], bool]:
    filling = in_background(disk, FULL_SECONDS)
    return lambda: not filling.is_alive()


def report(seen: list[Seen]) -> None:
    columns = ("disturbance", "missing for", "said after", "marked as stale after", "right after", "oldest unmarked")
    table = Table(*columns, "where", "said", "problem")
    for each in seen:
        figures = [_seconds(value) for value in (each.away, each.said, each.stale, each.right, each.oldest)]
        where = ", ".join(name for name in NAMES if name in each.pages)
        words = each.words[:110] or "nothing: all was well whenever a page looked"
        table.add_row(each.name, *figures, where or "–", words, each.problem() or "–")
    Console(width=220).print(table)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def main() -> int:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(prog="python -m benchmarks.page_kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--dir", type=Path, help="keep the loop's folder here")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        place = args.dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcqa-page-"))) / "loop"
        disk = Disk.mount(place, DISK_SIZE)
        stack.callback(disk.unmount)
        folder = stack.enter_context(loop_of_its_own(place))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        stack.callback(browser.close)
        return run(PageKills(folder.path, browser), disk)


def run(kills: PageKills, disk: Disk) -> int:
    kills.open()
    for name in ("gateway", "broker", "mlflow", "pipelines", "ui", "drift"):
        kills.disturb(f"kill -9 of {name}", lambda name=name: kills.kill(name))  # type: ignore[misc]
    version = kills.challenge()
    kills.disturb(f"a promotion, of version {version}", lambda: kills.promote(version))
    for name in ("mlflow", "pipelines", "broker"):
        kills.disturb(f"{name} hangs for {HANG_SECONDS:.0f} s", lambda name=name: kills.hang(name))  # type: ignore[misc]
    kills.disturb("kill -9 of the supervisor, and up", lambda: supervisor(kills))
    kills.disturb("down, 30 s, up", lambda: kills.down_and_up(30.0))
    if disk.problem:
        print(f"left out: the full disk: {disk.problem}")
    else:
        kills.disturb(f"disk full for {FULL_SECONDS:.0f} s", lambda: fill(disk))
    report(kills.seen)
    return int(any(each.problem() for each in kills.seen))


def supervisor(kills: PageKills) -> Callable[[], bool]:
    """A person starts it again after a while."""
    pid = kills.folder.running()
    if not pid:
        raise SystemExit("no supervisor runs")
    os.kill(pid, signal.SIGKILL)
    return kills.down_and_up(20.0)


if __name__ == "__main__":
    sys.exit(main())

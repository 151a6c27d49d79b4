"""The page over a loop with 1,000,000 predictions: what each of its queries takes, its first paint, what polling costs.

A real loop is brought up in a folder of its own, ended, its database filled, and brought up again. The readers run in
this process in sequence, as the page calls them; first paint is measured in Chromium, each in a new browser
context, until the page's own content is there. Polling is what the loop's processes take more while a page is open.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.page_database import Amounts, fill
from benchmarks.results import Row, median, report
from common.names import MODEL

ROUNDS, SECONDS = 5, 30.0
PAGES = ("", "loop", "drift", "rollout", "versions", "pipelines", "events")
CHAMPION = 1


def main() -> None:
    amounts = Amounts(answers=int(sys.argv[1])) if sys.argv[1:] else Amounts()
    folder = Path(tempfile.mkdtemp(prefix="benchmark-page-"))
    try:
        with loop(folder, amounts) as (environ, address):
            rows = [
                Row("predictions in the database", amounts.answers, "rows"),
                *queries(environ),
                *first_paint(address),
                *polling(folder, address),
            ]
        report("page: over a loop with a million predictions", rows)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def loop(folder: Path, amounts: Amounts) -> Iterator[tuple[dict[str, str], str]]:
    """The environment in which the page of a loop with that history runs, and its address."""
    mcqa("up", "--dir", str(folder), "--free-ports")
    mcqa("down", "--dir", str(folder))
    began = time.perf_counter()
    fill(folder / "loop.db", MODEL, CHAMPION, amounts)
    print(f"  {amounts.answers} predictions: {time.perf_counter() - began:.0f} s", flush=True)
    mcqa("up", "--dir", str(folder))
    try:
        ports = json.loads((folder / "settings.json").read_text())["ports"]
        variables = json.loads((folder / "environment.json").read_text())
        yield {**os.environ, **variables, "MCQA_LOCAL_DIR": str(folder)}, f"http://127.0.0.1:{ports['ui']}"
    finally:
        mcqa("down", "--dir", str(folder))


def mcqa(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "mcqa", *words], check=True, stdout=subprocess.DEVNULL, timeout=300)


def readers(environ: dict[str, str]) -> dict[str, Callable[[], Any]]:
    """What the pages read when they are opened; a reader more is a line more."""
    from mcqa.readmodels import (
        dead_letters,
        drift,
        drift_accuracy,
        drift_distributions,
        drift_subjects,
        loop_overview,
        pipeline_runs,
        rollout,
        rollout_history,
        traces,
        versions,
    )

    return {
        "loop: overview": lambda: loop_overview.read(environ),
        "drift: status": lambda: drift.read(environ, 50),
        "drift: distributions of the open window": lambda: drift_distributions.read(environ, None),
        "drift: subjects": lambda: drift_subjects.read(environ, None),
        "drift: accuracy over weeks": lambda: drift_accuracy.read(environ, "weeks", 0.0),
        "rollout: status": lambda: rollout.read(environ, 0),
        "rollout: history": lambda: rollout_history.history(environ, None),
        "rollout: log": lambda: rollout_history.log(environ, None, 20),
        "versions: list": lambda: versions.listing(environ),
        "pipelines: runs": lambda: pipeline_runs.read(environ),
        "events: dead letters": lambda: dead_letters.read(environ, 100),
        "events: recent rows": lambda: traces.recent(environ),
        "events: one trace's rows": lambda: traces.rows(environ, f"{1:032x}"),
    }


def queries(environ: dict[str, str]) -> list[Row]:
    rows = []
    for name, reader in readers(environ).items():
        seconds = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            reader()
            seconds.append(time.perf_counter() - began)
        rows.append(Row(f"{name}, median of {ROUNDS}", median(seconds), "s", at_most=3.0))
        print(f"  {name}: {', '.join(f'{each:.3f}' for each in seconds)} s", flush=True)
    return rows


def first_paint(address: str) -> list[Row]:
    rows = []
    with browser() as chromium:
        for page in PAGES:
            seconds = [paint(chromium, f"{address}/{page}") for _ in range(3)]
            print(f"  /{page}: {', '.join(f'{each:.2f}' for each in seconds)} s", flush=True)
            rows.append(Row(f"first paint of /{page}, median of 3", median(seconds), "s", at_most=3.0))
    return rows


def paint(chromium: Any, url: str) -> float:
    """Seconds until the page shows something of its own below its heading."""
    context = chromium.new_context()
    try:
        page = context.new_page()
        began = time.perf_counter()
        page.goto(url)
        page.locator("h1").first.wait_for()
        page.locator(".mcqa-view").first.wait_for()
        return time.perf_counter() - began
    finally:
        context.close()


def polling(folder: Path, address: str) -> list[Row]:
    """The share of a core that the loop's processes take more while the page Loop is open and updates itself."""
    supervisor = int(json.loads((folder / "status.json").read_text())["pid"])
    without = [share(supervisor) for _ in range(2)]
    with browser() as chromium:
        page = chromium.new_page()
        page.goto(f"{address}/loop")
        page.locator(".mcqa-view").first.wait_for()
        page.wait_for_timeout(5000)
        opened = [share(supervisor) for _ in range(2)]
    rows = []
    for who in ("loop", "page"):
        before, after = (median([each[who] for each in rounds]) for rounds in (without, opened))
        print(f"  {who}: {100 * before:.2f}% of a core, with the page open {100 * after:.2f}%", flush=True)
        name = "the page's own process" if who == "page" else "the loop's other processes"
        rows.append(
            Row(
                f"{name}, more with a page open",
                100 * (after - before),
                "% of a core",
                at_most=2.0,
            )
        )
    return rows


def share(supervisor: int) -> dict[str, float]:
    """Processor time over wall time for SECONDS, of the page's process and of all others of the loop."""
    before, began = times(supervisor), time.perf_counter()
    time.sleep(SECONDS)
    after, wall = times(supervisor), time.perf_counter() - began
    # A function that started or ended in between counts with what it is known to have used.
    used = {pid: (who, seconds - before.get(pid, (who, 0.0))[1]) for pid, (who, seconds) in after.items()}
    return {who: sum(s for name, s in used.values() if name == who) / wall for who in ("loop", "page")}


def times(supervisor: int) -> dict[int, tuple[str, float]]:
    found = {}
    root = psutil.Process(supervisor)
    for process in (root, *root.children(recursive=True)):
        try:
            used, words = process.cpu_times(), process.cmdline()
        except psutil.Error:
            continue
        who = "page" if words[1:3] == ["-m", "ui"] else "loop"
        found[process.pid] = (who, used.user + used.system)
    return found


@contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise SystemExit("page: chromium is not installed (apt install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield chromium
        finally:
            chromium.close()


if __name__ == "__main__":
    main()

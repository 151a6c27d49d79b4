"""`kill -9`, a full disk and a stepped clock at random points of the whole loop, and what must still hold afterwards.

    python -m benchmarks.kills [--kills 60] [--seed 1] [--pause 4]

A loop of its own is brought up with impatient settings; people ask and give feedback, the mix of subjects shifts, the
loop retrains and rolls out; afterwards versions are registered by hand, good and broken ones alternately, so that there
is always a rollout to disturb. All the while one process after another is killed: the supervisor (restarted by hand, as
a person would), the broker, MLflow, the pipelines' API, a pipeline run, a function, the model server. In between the
disk under the loop's folder is filled for some seconds, and the clock of all its processes is set an hour back or
forth (`disturbances.py`); what the machine does not permit is left out, with a line that says so.

At the end, with everything up again and quiet, these must hold (exit code 1 where one does not):

    lost        all feedback that the broker acknowledged is in the database, or among the dead letters
    counted     no answer is in the database twice, no feedback counted twice
    retrained   one drift, one retraining: no run key with two runs that succeeded, two versions, or two active runs
    promoted    every champion was the first version, or passed the gate and the canary
    answered    the model answers, the champion alone
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import create_engine, text

from benchmarks.disturbances import Clock, Disk, in_background
from common.errors import UnavailableError
from common.mlflow.registry import ModelRegistry
from common.names import CHALLENGER, CHAMPION, INFERENCE_SERVICE
from functions.rollout.version_tag import ROLLOUT_TAG, Outcome, RolloutTag
from local.platform.settings import HOST, ROOT, Folder, Ports, Settings
from mcqa import loop, loop_process, targets
from mcqa.demo.faults import Fault, inject_fault
from mcqa.demo.scenario import CONFIG, SCHEDULES
from mcqa.demo.traffic import SHIFTED, Traffic
from pipelines.registration import versions
from predictor.storage.resolver import resolve

VICTIMS = ("supervisor", "gateway", "broker", "mlflow", "pipelines", "run", "function", "model")
WEIGHTS = (3, 3, 4, 2, 2, 3, 6, 2)
DISTURBANCES, EVERY = ("disk", "clock"), 3
"""In turn, every third disturbance: at random they might not come at all."""
DISK_SIZE = "1500m"
FULL_SECONDS = (1.0, 8.0)
QUICK = {
    "fine_tune_seconds": 0,
    "fine_tune_steps": 60,
    "timed_questions": 40,
}
RATE = 12.0


@dataclass
class Champions(threading.Thread):
    """Polls the alias all the time: every version that was champion for longer than a poll is recorded."""

    environ: dict[str, str]
    seen: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        with ModelRegistry(self.environ, self.environ["MCQA_REGISTERED_MODEL"]) as registry:
            while not self.stopping.wait(0.2):
                try:
                    model = registry.model()
                except UnavailableError:
                    continue
                champion = model.aliases.get(CHAMPION) if model else None
                if champion and champion not in self.seen[-1:]:
                    self.seen.append(champion)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=4.0, help="mean seconds between kills")
    parser.add_argument("--steps", type=int, default=QUICK["fine_tune_steps"], help="of a fine-tuning")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds to wait for anything")
    parser.add_argument("--dir", type=Path, help="keep everything here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mcqa-kills-") as temporary:
        place = Path(temporary)
        disk = Disk.mount(args.dir or place / "loop", DISK_SIZE)
        built = Clock.build(place)
        clock = built if isinstance(built, Clock) else None
        for name, problem in (("the disk", disk.problem), ("the clock", built if isinstance(built, str) else "")):
            if problem:
                print(f"left out: {name}: {problem}", flush=True)
        try:
            return Kills(Folder(disk.path), args, disk, clock).run()
        finally:
            disk.unmount()


class Kills:
    def __init__(self, folder: Folder, args: argparse.Namespace, disk: Disk, clock: Clock | None) -> None:
        self.disk, self.clock = disk, clock
        self.folder, self.kills, self.pause, self.patience = folder, args.kills, args.pause, args.patience
        self.parameters = {**QUICK, "fine_tune_steps": args.steps}
        self.random = random.Random(args.seed)
        self.killed: Counter[str] = Counter()
        self.filling: threading.Thread | None = None
        self.began = time.monotonic()

    def run(self) -> int:
        config = {
            **CONFIG,
            "MCQA_RETRAIN_PARAMETERS": json.dumps(self.parameters),
            "MCQA_RETRAIN_COOLDOWN_SECONDS": "10",
        }
        ports: dict[str, int | None] = dict.fromkeys(("gateway", "api", "broker", "mlflow", "pipelines", "ui"), 0)
        self.say("bringing the loop up")
        self.folder.make()
        self.folder.save(
            Settings(Ports(**dict.fromkeys(ports, 0)), config, SCHEDULES, loop_process.model_source(Settings().source))
        )
        self.restart()
        self.until(lambda: loop_process.read_status(self.folder).get("ready"), self.patience, "everything being up")
        self.environ = targets.environ(self.folder.path)
        os.environ |= {name: self.environ[name] for name in ("MLFLOW_TRACKING_URI", "MCQA_CACHE")}
        self.engine = create_engine(self.environ["MCQA_DATABASE_URL"])
        ports_now = self.folder.settings().ports
        traffic = Traffic(f"http://{HOST}:{ports_now.gateway}", self.environ["K_SINK"], rate=RATE)
        champions = Champions(self.environ)
        try:
            champions.start()
            traffic.start()
            time.sleep(20)
            traffic.mix = SHIFTED
            self.until(lambda: self.rows("SELECT 1 FROM drift_checks WHERE alarm"), self.patience, "the drift")
            self.disturb()
            traffic.rate = 2 * RATE  # a canary that is under way needs its evidence
            self.settle()
            traffic.stop()
            self.until(lambda: not self.waiting(), self.patience, "the last deliveries")
            champions.stopping.set()
            return self.account(traffic, champions.seen)
        finally:
            traffic.stop()
            champions.stopping.set()
            loop_process.stop(self.folder)

    def disturb(self) -> None:
        """The kills; whenever nothing is being rolled out, somebody registers a version."""
        registered = 0
        for number in range(1, self.kills + 1):
            time.sleep(self.random.uniform(0.3, 2 * self.pause - 0.3))
            if number > self.kills / 3 and self.idle():
                registered += self.challenge(registered)
            disturbance = (
                "" if number % EVERY else self.disturb_machine(DISTURBANCES[number // EVERY % len(DISTURBANCES)])
            )
            victim = disturbance or self.kill()
            self.say(f"{number} of {self.kills}: {victim}")
            if not self.folder.running():
                time.sleep(self.random.uniform(0.0, 2.0))
                self.restart()

    def kill(self) -> str:
        """Kills one running process; its name."""
        while True:
            victim = self.random.choices(VICTIMS, WEIGHTS)[0]
            pids = self.pids(victim)
            if pids:
                name, pid = self.random.choice(sorted(pids.items()))
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.killed[victim] += 1
                return name
            time.sleep(0.05)

    def disturb_machine(self, what: str) -> str:
        """Fills the disk for a while, or steps the clock; "" where that is left out or under way."""
        if what == "clock" and self.clock:
            self.killed[what] += 1
            return f"clock {self.clock.step(self.random):+d} s"
        if what == "clock":
            return ""
        if self.disk.problem or (self.filling and self.filling.is_alive()):
            return ""
        self.killed[what] += 1
        seconds = self.random.uniform(*FULL_SECONDS)
        self.filling = in_background(self.disk, seconds)
        return f"disk full for {seconds:.1f} s"

    def pids(self, victim: str) -> dict[str, int]:
        status = loop_process.read_status(self.folder)
        if victim == "supervisor":
            return {victim: pid} if (pid := self.folder.running()) else {}
        if victim in ("gateway", "broker", "mlflow", "pipelines"):
            return {p["name"]: p["pid"] for p in status.get("parts", ()) if p["name"] == victim and p["pid"]}
        if victim == "run":
            return {f"pipeline run {pid}": pid for pid in runs_of(self.folder)}
        model = victim == "model"
        return {
            revision["revision"]: revision["pids"][0]
            for revision in status.get("revisions", ())
            if revision["pids"] and ("-predictor-" in revision["revision"]) is model
        }

    def restart(self) -> None:
        """What a person does who finds the supervisor dead."""
        module = "benchmarks.stepped" if self.clock else "local.platform"
        environment = {**os.environ, **(self.clock.environment if self.clock else {})}

        def started() -> bool:
            with self.folder.log.open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", module, "--dir", str(self.folder.path)], env=environment,
                    cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                )  # fmt: skip
            while process.poll() is None and not self.folder.running():
                time.sleep(0.1)
            time.sleep(1.0)
            return process.poll() is None  # on a full disk it ends with one line, and is started again

        self.until(started, self.patience, "the supervisor")

    def idle(self) -> bool:
        return not self.rows("SELECT 1 FROM rollouts") and not self.rows(
            "SELECT 1 FROM retrain_runs WHERE state IN ('starting', 'queued', 'running')"
        )

    def challenge(self, number: int) -> int:
        """Registers a version and sets the alias on it, past the gate: a broken one, or a copy of the champion."""
        try:
            with ModelRegistry(self.environ, self.environ["MCQA_REGISTERED_MODEL"]) as registry:
                model = registry.model()
                if model is None or CHAMPION not in model.aliases or CHALLENGER in model.aliases:
                    return 0
                good = resolve(f"mlflow://{model.name}/{model.aliases[CHAMPION]}", cache=None)
                with tempfile.TemporaryDirectory() as work:
                    folder = Path(work) / "v"
                    inject_fault(good, folder, list(Fault)[number % len(Fault)])
                    candidate = versions.Candidate(folder, f"by-hand-{number}")
                    version = versions.register(registry, self.environ["MLFLOW_TRACKING_URI"], candidate).version
                registry.set_alias(CHALLENGER, version)
                self.say(f"version {version}, broken, is challenger by hand")
                return 1
        except Exception as error:  # noqa: BLE001 - the registry was killed, however that shows
            self.say(f"could not register: {type(error).__name__}")
            return 0

    def settle(self) -> None:
        """Everything up, no run and no rollout under way."""
        if self.filling:
            self.filling.join()
        if not self.folder.running():
            self.restart()
        self.until(lambda: loop_process.read_status(self.folder).get("ready"), self.patience, "everything being up")
        self.until(self.idle, self.patience, "the end of rollouts and runs")

    def waiting(self) -> int:
        with loop.broker(self.folder, 5.0) as broker:
            figures = broker.get("/-/figures").json()
        return sum(trigger["depth"] + trigger["dead_lettering"] for trigger in figures["triggers"])

    def account(self, traffic: Traffic, champions: list[str]) -> int:
        """Checks what must hold and prints it; 0 when all of it does."""
        results = {
            "lost": self.lost(traffic),
            "counted": self.counted_twice(),
            "retrained": self.retrained_twice(),
            "promoted": self.promoted_unproven(champions),
            "answered": self.unanswered(),
        }
        failed = Counter(sample.status or "no answer" for sample in traffic.samples if sample.status != 200)
        print(
            f"\n{sum(self.killed.values())} disturbances in {time.monotonic() - self.began:.0f} s: {dict(self.killed)}"
        )
        print(f"questions {len(traffic.samples)}, of these not answered {failed.total()} {dict(failed)}")
        print(f"feedback acknowledged {len(traffic.acknowledged)}, abandoned unacknowledged {traffic.lost_feedback}")
        print(f"champions in order: {', '.join(champions)}")
        for row in self.rows("SELECT key, state, attempt, version FROM retrain_runs"):
            print(f"retraining {row['key'][:12]}: {row['state']}, attempt {row['attempt']}, version {row['version']}")
        for name, problems in results.items():
            print(f"{name:<10} {'ok' if not problems else 'BROKEN: ' + '; '.join(problems[:5])}")
        return int(any(results.values()))

    def lost(self, traffic: Traffic) -> list[str]:
        stored = {row["id"] for row in self.rows("SELECT id FROM feedback")}
        dead = {row["id"] for row in self.rows("SELECT id FROM dead_letters")}
        return [f"{name} was acknowledged" for name in traffic.acknowledged if name not in stored | dead]

    def counted_twice(self) -> list[str]:
        problems = []
        for table, key in (("answers", "source, id, place"), ("feedback", "answer_id, place"), ("requests", "id")):
            twice = self.rows(f"SELECT {key} FROM {table} GROUP BY {key} HAVING count(*) > 1")
            problems += [f"{table}: {dict(row)}" for row in twice]
        return problems

    def retrained_twice(self) -> list[str]:
        with loop.pipelines(self.folder) as pipelines:
            runs = pipelines.get("/apis/v2beta1/runs?page_size=200").json().get("runs") or ()
        done = Counter(run["display_name"] for run in runs if run["state"] in ("SUCCEEDED", "RUNNING", "PENDING"))
        problems = [f"{count} runs {name}" for name, count in done.items() if count > 1]
        with ModelRegistry(self.environ, self.environ["MCQA_REGISTERED_MODEL"]) as registry:
            keys = Counter(version.tags.get("run_key", f"none {version.version}") for version in registry.versions())
        return problems + [f"{count} versions of {key[:16]}" for key, count in keys.items() if count > 1]

    def promoted_unproven(self, champions: list[str]) -> list[str]:
        problems = []
        with ModelRegistry(self.environ, self.environ["MCQA_REGISTERED_MODEL"]) as registry:
            for name in champions[1:]:
                version = registry.version(name)
                tags = dict(version.tags) if version else {}
                if "gate" not in tags:
                    problems.append(f"version {name} has no verdict of the gate")
                tag = RolloutTag.decode(tags.get(ROLLOUT_TAG))
                if tag is None or tag.outcome is Outcome.PASSED:
                    problems.append(f"version {name} is tagged {tags.get(ROLLOUT_TAG)!r}")
                passed = self.rows(
                    "SELECT DISTINCT percent FROM rollout_decisions WHERE challenger = :name AND phase = 'stepped-up'",
                    name=name,
                )
                if len(passed) < 3:
                    problems.append(f"version {name} has only the steps {[row['percent'] for row in passed]} recorded")
        return problems

    def unanswered(self) -> list[str]:
        url = f"http://{HOST}:{self.folder.settings().ports.gateway}/v1/models/{INFERENCE_SERVICE}:predict"
        body = {"instances": [{"question": "1 + 1?", "choices": ["1", "2"]}], "parameters": {"purpose": "test"}}
        responses = [httpx2.post(url, json=body, timeout=60) for _ in range(20)]
        served = {response.json()["model_version"] for response in responses if response.status_code == 200}
        with ModelRegistry(self.environ, self.environ["MCQA_REGISTERED_MODEL"]) as registry:
            model = registry.model()
        champion = model.aliases.get(CHAMPION) if model else None
        failed = [f"status {response.status_code}" for response in responses if response.status_code != 200]
        return failed + ([f"versions {served} answer, champion is {champion}"] if served != {champion} else [])

    def rows(self, query: str, **values: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query), values).mappings())

    def until(self, condition: Callable[[], Any], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except (httpx2.TransportError, UnavailableError):
                pass
            if time.monotonic() > deadline:
                raise SystemExit(f"{what} did not happen within {seconds:.0f} s; see {self.folder.path}")
            time.sleep(0.2)

    def say(self, line: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {line}", flush=True)


def runs_of(folder: Folder) -> list[int]:
    """The processes that execute pipeline runs of this folder, and the steps they started."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder.path / "pipelines") in command and (
            "local.pipelines.runner" in command or "executor_main" in command
        ):
            pids.append(int(path.parent.name))
    return pids


if __name__ == "__main__":
    sys.exit(main())

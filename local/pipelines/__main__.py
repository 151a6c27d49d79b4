"""Runs the pipelines' API: `python -m local.pipelines --folder .local/pipelines --port 8888`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn
from starlette.concurrency import run_in_threadpool

from local.connection_limits import LimitedHttpProtocol
from local.origins import AllowedHostsError, allowed_hosts
from local.pipelines import processes
from local.pipelines.app import make_app, with_guard
from local.pipelines.database import FILE, PipelineDatabase
from local.pipelines.experiments import Experiments
from local.pipelines.kubeflow_ui_files import UiFolderError, check_folder
from local.pipelines.pipelines import Pipelines
from local.pipelines.recurring_runs import RecurringRuns
from local.pipelines.runs import Runs
from local.pipelines.scheduler import Limits, Scheduler
from local.ports import listen
from local.storage import StorageError, StorageMonitor, backoff_delays, tolerate_output_errors
from local.tokens import TokenError, read_or_create_token

HOST = "127.0.0.1"
RECONCILE_SECONDS = 0.1
TAKEOVER_SECONDS = 2.0
log = logging.getLogger("local.pipelines")


def main() -> int:
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    folder: Path = arguments.folder.resolve()
    tolerate_output_errors()
    try:
        lock = processes.acquire_lock(folder / "server.lock", TAKEOVER_SECONDS)
        database = PipelineDatabase(folder / FILE) if lock is not None else None
    except OSError as error:
        print(f"pipelines: {error}", file=sys.stderr)
        return 1
    if database is None:
        print(f"pipelines: another server uses {folder}; stop it, or choose another --folder", file=sys.stderr)
        return 1
    limits = Limits(parallel=max(1, arguments.parallel), attempts=max(1, arguments.attempts))
    try:
        token = read_or_create_token(arguments.token_file or folder / "token")
        hosts = allowed_hosts(os.environ)
    except (TokenError, AllowedHostsError) as error:
        print(f"pipelines: {error}", file=sys.stderr)
        return 1
    try:
        ui_folder = check_folder(arguments.ui) if arguments.ui else None
    except UiFolderError as error:  # runs matter more than how they look
        log.warning("%s; serving the small pages", error)
        ui_folder = None
    try:
        listening = listen(HOST, arguments.port)
    except OSError as error:
        print(f"pipelines: {error.strerror}", file=sys.stderr)
        return 1
    return asyncio.run(_serve(folder, database, listening, limits, token, hosts, ui_folder))


async def _serve(
    folder: Path,
    database: PipelineDatabase,
    listening: socket.socket,
    limits: Limits,
    token: str,
    hosts: frozenset[str],
    ui_folder: Path | None,
) -> int:
    runs = Runs(database, folder)
    recurring = RecurringRuns(runs)
    app = make_app(Experiments(database), Pipelines(database), runs, recurring, ui_folder)
    watch = StorageMonitor([("pipelines", folder)])
    watch.start()
    scheduler = Scheduler(runs, limits, watch)
    config = uvicorn.Config(
        with_guard(app, token, hosts), lifespan="off", access_log=False,
        log_level="warning", server_header=False, timeout_graceful_shutdown=3, http=LimitedHttpProtocol, ws="none",
        proxy_headers=False,
    )  # fmt: skip
    server = uvicorn.Server(config)

    def stop(*_: object) -> None:
        server.should_exit = True

    # uvicorn raises the signal that stopped it again when it is done; by then the runs are not stopped yet.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    reconciling = asyncio.create_task(_reconcile_forever(recurring, scheduler, server))
    await server.serve([listening])
    server.should_exit = True
    await reconciling
    await run_in_threadpool(scheduler.stop)
    database.close()
    return 0


async def _reconcile_forever(recurring: RecurringRuns, scheduler: Scheduler, server: uvicorn.Server) -> None:
    pause = backoff_delays()
    while not server.should_exit:
        try:
            if recurring.database.storage_failure:
                await run_in_threadpool(recurring.database.check)
            await run_in_threadpool(recurring.start_due)
            await run_in_threadpool(scheduler.reconcile)
        except StorageError as error:
            log.debug("the runs are reconciled later: %s", error)
            await asyncio.sleep(pause())
            continue
        except Exception:  # the next pass may succeed
            log.exception("the runs could not be reconciled")
            await asyncio.sleep(pause())
            continue
        pause = backoff_delays()
        await asyncio.sleep(RECONCILE_SECONDS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.pipelines", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="database, logs and files of all runs; made when missing")
    add(
        "--token-file",
        type=Path,
        help="what is in it lets in, and it is made when missing; default: `token` in the folder",
    )
    add("--port", type=int, default=8888, help=f"port to listen on, on {HOST}")
    add("--ui", type=Path, help="a build of Kubeflow Pipelines' UI to serve at /; default: only small pages")
    add("--parallel", type=int, default=1, help="runs that are executed at a time")
    add("--attempts", type=int, default=3, help="starts of a run whose process dies before it counts as failed")
    return parser


if __name__ == "__main__":
    sys.exit(main())

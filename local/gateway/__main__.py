"""Runs the gateway: `python -m local.gateway --socket .local/serving/gateway/control.sock --port 8080 …`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from local.gateway.server import Gateway
from local.gateway.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local.gateway", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--socket", type=Path, required=True, help="Unix socket that the controller connects to; created if missing")
    add("--host", default="127.0.0.1", help="address to listen on for questions")
    add("--port", type=int, required=True, help="port to listen on for questions")
    add("--internal-port", type=int, required=True, help="loopback port for the platform's own senders")
    add("--seed", type=int, default=None, help="seed of the choice between revisions, for tests")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    settings = Settings(**vars(parser.parse_args(argv)))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except OSError as error:
        print(f"gateway: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    async with Gateway(settings):
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())

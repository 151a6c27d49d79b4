"""Runs the broker: `python -m local.broker --database .local/broker.db --port 8081`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import signal
import sys
from pathlib import Path

import uvicorn
import uvloop

from local.broker.app import guarded
from local.broker.service import BrokerService
from local.broker.settings import DAY, Settings
from local.broker.store import StoreError
from local.connections import BoundedProtocol
from local.loopback import Guard, HostsError, allowed_hosts
from local.tokens import TokenError, read_or_make


def main() -> int:
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    settings = Settings(
        database=arguments.database,
        max_body=arguments.max_body,
        concurrency=arguments.concurrency,
        attempt_timeout=arguments.attempt_timeout,
        connect_to=tuple(arguments.connect_to),
        keep_for=arguments.keep_days * DAY,
        keep_events=arguments.keep_events,
    )
    try:
        broker = BrokerService(settings)
        token = read_or_make(arguments.token_file or settings.database.with_name("token"))
        app = guarded(broker, token, allowed_hosts(os.environ))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(broker, app, arguments.host, arguments.port))
    except (StoreError, TokenError, HostsError) as error:
        print(f"broker: {error}", file=sys.stderr)
        return 1


async def _serve(broker: BrokerService, app: Guard, host: str, port: int) -> int:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=BoundedProtocol,
            ws="none",
            proxy_headers=False,
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=math.ceil(broker.settings.grace),
        )
    )

    def stop(*_: object) -> None:
        server.should_exit = True

    # Set before the server sets its own: it raises the signal that stopped it once more when it is done, and the
    # broker then still has things to put away.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    async with broker:
        await server.serve()
    return 0 if server.started else 1


def _parser() -> argparse.ArgumentParser:
    defaults = Settings(Path("broker.db"))
    parser = argparse.ArgumentParser(
        prog="python -m local.broker", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--database", type=Path, required=True, help="SQLite file, made when missing")
    add(
        "--token-file",
        type=Path,
        help="whoever sends what is in it may use /-/…; made when missing; default: `token` beside the database",
    )
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=8081, help="port to listen on")
    add("--max-body", type=int, default=defaults.max_body, help="largest event in bytes")
    add("--concurrency", type=int, default=defaults.concurrency, help="requests in flight to one subscriber")
    add("--attempt-timeout", type=float, default=defaults.attempt_timeout, help="seconds, unless delivery.timeout says")
    add(
        "--connect-to",
        type=_connection,
        action="append",
        default=[],
        metavar="DOMAIN=HOST:PORT",
        help="send requests for hosts under DOMAIN to this address, keeping the Host header; may be repeated",
    )
    add("--keep-days", type=float, default=defaults.keep_for / DAY, help="days that delivered events are kept")
    add("--keep-events", type=int, default=defaults.keep_events, help="delivered events that are kept at most")
    return parser


def _connection(text: str) -> tuple[str, str]:
    domain, separator, address = text.partition("=")
    if not separator or not domain or ":" not in address:
        raise argparse.ArgumentTypeError(f"must be DOMAIN=HOST:PORT, found {text!r}")
    return domain, address


if __name__ == "__main__":
    sys.exit(main())

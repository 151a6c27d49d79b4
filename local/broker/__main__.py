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

from local.access_middleware import AccessMiddleware
from local.broker.app import protected_app
from local.broker.service import BrokerService
from local.broker.settings import DAY, Settings
from local.broker.store import StoreError
from local.connection_limits import LimitedHttpProtocol
from local.origins import AllowedHostsError, allowed_hosts
from local.tokens import TokenError, read_or_create_token


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
        token = read_or_create_token(arguments.token_file or settings.database.with_name("token"))
        app = protected_app(broker, token, allowed_hosts(os.environ))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(broker, app, arguments.host, arguments.port))
    except (StoreError, TokenError, AllowedHostsError, OSError) as error:
        print(f"broker: {error}", file=sys.stderr)
        return 1


async def _serve(broker: BrokerService, app: AccessMiddleware, host: str, port: int) -> int:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=LimitedHttpProtocol,
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

    # Installed before the server's own handlers: when it is done, uvicorn raises the signal that stopped it once more,
    # and the broker still has to close its store then.
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, stop)
    async with broker:
        await server.serve()
    return 0 if server.started else 1


def _parser() -> argparse.ArgumentParser:
    defaults = Settings(Path("broker.db"))
    parser = argparse.ArgumentParser(
        prog="python -m local.broker", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--database", type=Path, required=True, help="SQLite file, created if missing")
    add(
        "--token-file",
        type=Path,
        help="holds the token that /-/… requires; created if missing; default: `token` next to the database",
    )
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=8081, help="port to listen on")
    add("--max-body", type=int, default=defaults.max_body, help="largest event in bytes")
    add("--concurrency", type=int, default=defaults.concurrency, help="requests in flight to one subscriber")
    add(
        "--attempt-timeout",
        type=float,
        default=defaults.attempt_timeout,
        help="seconds, where delivery.timeout is unset",
    )
    add(
        "--connect-to",
        type=_connection,
        action="append",
        default=[],
        metavar="DOMAIN=HOST:PORT",
        help="send requests for hosts under DOMAIN to this address, with the Host header kept; may be repeated",
    )
    add("--keep-days", type=float, default=defaults.keep_for / DAY, help="days to keep delivered events")
    add("--keep-events", type=int, default=defaults.keep_events, help="how many delivered events to keep at most")
    return parser


def _connection(text: str) -> tuple[str, str]:
    domain, separator, address = text.partition("=")
    if not separator or not domain or ":" not in address:
        raise argparse.ArgumentTypeError(f"must be DOMAIN=HOST:PORT, found {text!r}")
    return domain, address


if __name__ == "__main__":
    sys.exit(main())

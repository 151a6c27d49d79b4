"""`python -m local.kube --dir .local`: the API on a loopback port, and a kubeconfig for it."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from local.kube.server import ApiServer
from local.origins import AllowedHostsError
from local.tokens import TokenError


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m local.kube", description="A Kubernetes-shaped API for kubectl, on this machine only."
    )
    parser.add_argument("--dir", type=Path, default=Path(".local"), metavar="DIR", help="state [default: .local]")
    parser.add_argument("--port", type=int, default=6443, metavar="PORT", help="port of 127.0.0.1 [default: 6443]")
    parser.add_argument(
        "--namespace", default="default", help="the one that kubectl uses by default [default: default]"
    )
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        server = ApiServer(args.dir, args.port, namespace=args.namespace)
    except (OSError, TokenError, AllowedHostsError) as error:
        print(f"python -m local.kube: {error}", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn stops first, then raises the signal again
        signal.signal(number, lambda *_: sys.exit(0))
    print(f"export KUBECONFIG={server.kubeconfig.resolve()}", flush=True)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

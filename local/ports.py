"""Free ports on this machine. Standard library only: it also runs before set-up."""

from __future__ import annotations

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """Different free loopback ports, as the kernel assigns them."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]


def try_listen(host: str, port: int) -> None:
    """OSError, or OverflowError for an impossible number, if the port cannot be listened on now."""
    with socket.socket() as sock:
        # As servers do: a port in TIME_WAIT after the last server's end is free.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1)


def check_free(host: str, port: int) -> None:
    """OSError with one line for people if the port cannot be listened on."""
    try:
        try_listen(host, port)
    except OSError as error:
        raise cannot_listen(host, port, error) from None


def cannot_listen(host: str, port: int, error: OSError) -> OSError:
    """The error of a failed attempt to listen, as one line for people."""
    return OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}; choose another port")


def is_free(host: str, port: int) -> bool:
    try:
        try_listen(host, port)
    except OSError:
        return False
    return True


def listen(host: str, port: int) -> socket.socket:
    """A bound TCP socket for a server; OSError with a one-line message. 0 takes a free port."""
    # asyncio turns Nagle's algorithm off only for sockets that say TCP; with it, every response takes 40 ms.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise cannot_listen(host, port, error) from None
    return sock

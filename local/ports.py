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


def check_free(host: str, port: int) -> None:
    """OSError with a one-line message if the port cannot be listened on."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            raise cannot_listen(host, port, error) from None


def is_free(host: str, port: int) -> bool:
    try:
        check_free(host, port)
    except OSError:
        return False
    return True


def cannot_listen(host: str, port: int, error: OSError) -> OSError:
    """The error of a failed bind, as one line for people."""
    return OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}; choose another port")


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

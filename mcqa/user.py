"""Who runs a command: by that name the decision log says who did it."""

from __future__ import annotations

import getpass


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "operator"

"""How long torch's OpenMP threads spin while they wait for each other.

By default they spin so long that they hold a core which another process needs; without spinning, each of the hundreds
of barriers of a forward pass costs a wake-up. Measured on two cores, 1.5 B parameters, 64 tokens, seconds per pass:

    default spinning         0.6 alone   2.0 beside one busy process
    no spinning              0.8         1.2
    spinning briefly         0.6         1.4

A model server is rarely alone on its cores, so brief spinning is the default here.
"""

from __future__ import annotations

import os

SPIN_COUNT = "10000"
"""Spins; libgomp's own default is 300,000."""


def limit_spinning() -> None:
    """Makes libgomp's threads sleep after a short spin, unless the environment says otherwise.

    Call it before importing torch, which brings libgomp on Linux; elsewhere it changes nothing.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)

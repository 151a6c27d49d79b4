"""How long torch's worker threads spin while they wait for each other.

By default long enough that a core which another process needs is held for nothing; not at all costs a wake-up at each
of the hundreds of barriers of a forward pass. Measured on two cores, 1.5 B parameters, 64 tokens, seconds a pass:

    spinning as by default   0.6 alone   2.0 beside one busy process
    sleeping at once         0.8         1.2
    spinning briefly         0.6         1.4

A model server is rarely alone on its cores, so brief is the default here.
"""

from __future__ import annotations

import os

BRIEFLY = "10000"
"""Spins; libgomp's own default is 300,000."""


def spin_briefly() -> None:
    """Makes libgomp's threads sleep after a short spin, unless the environment says otherwise.

    Call it before importing torch, which brings libgomp on Linux; elsewhere it changes nothing.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", BRIEFLY)

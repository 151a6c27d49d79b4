"""How torch's worker threads wait for each other.

By default they spin. On a machine that other processes share, a spinning thread keeps the core that the thread it
waits for needs: on two cores with one busy neighbour a 1.5 B forward pass of 64 tokens took 7.5 s spinning and 1.2 s
sleeping. A model server is rarely alone on its cores, so sleeping is the default here.
"""

from __future__ import annotations

import os


def sleep_while_waiting() -> None:
    """Makes OpenMP threads sleep at barriers, unless OMP_WAIT_POLICY says otherwise. Call it before importing torch."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

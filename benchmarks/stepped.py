"""`python -m benchmarks.stepped --dir DIR`: the platform of `python -m local.platform`, with the kill script's clock.

The platform passes its processes a short list of variables; here those of the clock are on it.
"""

from __future__ import annotations

import sys

from local.platform import environment
from local.platform.__main__ import main

CLOCK = ("LD_PRELOAD", "STEPPED_CLOCK")

if __name__ == "__main__":
    environment.INHERITED = (*environment.INHERITED, *CLOCK)  # type: ignore[assignment]
    sys.exit(main())

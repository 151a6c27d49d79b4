"""Runs the benchmarks in sequence, each in a process of its own: `python -m benchmarks [NAME ...]`."""

from __future__ import annotations

import subprocess
import sys

NAMES = ("scoring", "http", "cold_start", "broker", "drift_check", "gateway", "page", "decisions", "learning")


def main() -> int:
    chosen = sys.argv[1:] or list(NAMES)
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        print(f"benchmarks: {unknown[0]!r} is not one of {', '.join(NAMES)}", file=sys.stderr)
        return 2
    from benchmarks.real_size import folder
    from predictor.openmp import limit_spinning

    # For the peers too: everything that is measured waits in the same way.
    limit_spinning()
    print(f"real-size version: {folder()}", flush=True)
    return max(subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode for name in chosen)


if __name__ == "__main__":
    sys.exit(main())

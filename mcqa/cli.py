"""`mcqa` as a process: signals, streams and exit codes. The verbs are in `verbs`, which this imports last.

    0    done                 1    failed, one line on stderr     2    called wrongly, one line on stderr
    130  Ctrl-C               141  nobody reads the output        143  SIGTERM (129 for a closed terminal)

Nothing here may be slow to import, nor at the top of it: until `main` has set the handlers, Ctrl-C is a traceback of
`python -m mcqa`, and without effect on the script `mcqa`, whose head holds it off. That is why `typing` (a tenth of the
start) is left to type checkers.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INTERRUPTED, NO_READER = 130, 141
DEBUG_VARIABLE = "MCQA_DEBUG"


def main() -> None:
    if os.environ.pop("MCQA_INTERRUPT", ""):  # held off while Python started: scripts/environment.py
        signal.signal(signal.SIGINT, _at_once)
    _on_interrupt(_at_once)
    from mcqa import streams

    streams.prepare()
    code = _run()
    # A second Ctrl-C while the interpreter ends must not be a traceback either.
    _on_interrupt(_at_once)
    code = streams.finish(code)
    if code > 128 and _threads_go_on():
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    try:
        from predictor.openmp import limit_spinning

        limit_spinning()
        from mcqa.verbs import app

        # From here on an interrupted verb may have something to put away: it is told by an exception.
        _on_interrupt(signal.default_int_handler)
        sys.unraisablehook = _again
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _end)
        app(prog_name="mcqa")
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return NO_READER
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        from mcqa.failures import unexpected

        unexpected(error)
        return 1


def _at_once(number: int, frame: Any) -> None:
    os._exit(INTERRUPTED)


def _end(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _again(told: sys.UnraisableHookArgs) -> None:
    """Ctrl-C while a destructor or a callback of an extension runs is dropped with a traceback: it comes once more."""
    if not issubclass(told.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(told)
        return
    import threading

    # In a moment, because before this returns it would be dropped again; to the thread that may be waiting.
    main = threading.main_thread().ident or 0
    later = threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT))
    later.daemon = True
    later.start()


def _on_interrupt(handler: Any) -> None:
    """Unless Ctrl-C is to be ignored, as by nohup or in the background of a script."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def _threads_go_on() -> bool:
    """Whether the interpreter would wait for a thread (a download's) though the user has asked for the end."""
    import threading

    return any(not one.daemon for one in threading.enumerate() if one is not threading.main_thread())

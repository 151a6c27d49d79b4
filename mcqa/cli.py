"""`mcqa` as a process: signals, streams and exit codes. The verbs are in `verbs`, which is imported last.

    0    done                 1    failed, one line on stderr     2    called wrongly, one line on stderr
    130  Ctrl-C               141  nobody reads the output        143  SIGTERM (129 for a closed terminal)

Nothing here, least of all at the top, may be slow to import: until `main` has set the handlers, Ctrl-C is a traceback
in `python -m mcqa`, and has no effect on the script `mcqa`, whose first lines hold it off. That is why `typing` (a
tenth of the start-up time) is left to type checkers.
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
        signal.signal(signal.SIGINT, _exit_at_once)
    _set_interrupt_handler(_exit_at_once)
    from mcqa import stdio

    stdio.prepare()
    code = _run()
    # A second Ctrl-C while the interpreter ends must not be a traceback either.
    _set_interrupt_handler(_exit_at_once)
    code = stdio.finish(code)
    # A Ctrl-C inside of `exec(text)`, with which dataclasses are made, leaves CPython a mark by which it ends itself by
    # SIGINT, whoever has caught the exception; the next text that is run clears it.
    exec("")
    if code > 128 and _threads_still_running():
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    try:
        from predictor.openmp import limit_spinning

        limit_spinning()
        from mcqa.verbs import app

        # From here on an interrupted verb may have something to clean up: it gets an exception.
        _set_interrupt_handler(signal.default_int_handler)
        sys.unraisablehook = _repeat_signal
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _exit_on_signal)
        _wake_on_signals()
        app(prog_name="mcqa")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return NO_READER
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:  # noqa: BLE001 - the last handler: whatever it is becomes one line and a file
        from mcqa.error_reporting import report_unexpected

        report_unexpected(error)
        return 1
    return 0


def _exit_at_once(number: int, frame: Any) -> None:
    os._exit(INTERRUPTED)


def _exit_on_signal(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _repeat_signal(unraisable: sys.UnraisableHookArgs) -> None:
    """Python drops what a signal raises in a destructor or in an extension's callback; this sends it again."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        number = signal.SIGINT
    elif isinstance(end := unraisable.exc_value, SystemExit) and isinstance(end.code, int) and end.code > 128:
        number = signal.Signals(end.code - 128)
    else:
        sys.__unraisablehook__(unraisable)
        return
    import threading

    # After a moment, because before this returns it would be dropped again; to the thread that may be waiting.
    main = threading.main_thread().ident or 0
    timer = threading.Timer(0.05, signal.pthread_kill, (main, number))
    timer.daemon = True
    timer.start()


def _wake_on_signals() -> None:
    """Lets no signal go unnoticed that arrives while the main thread enters a system call.

    Python runs its handlers between two of its instructions. A signal that comes after the last one and before the
    kernel waits would be handled only when the wait is over, so a thread interrupts that wait soon afterwards, by a
    signal that means nothing here.
    """
    import threading
    import time

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    main = threading.main_thread().ident or 0

    def wake() -> None:
        while number := os.read(reader, 1):
            if number[0] != signal.SIGURG:
                for pause in (0.05, 0.5):
                    time.sleep(pause)
                    signal.pthread_kill(main, signal.SIGURG)

    signal.signal(signal.SIGURG, lambda number, frame: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=wake, name="signals", daemon=True).start()


def _set_interrupt_handler(handler: Any) -> None:
    """Unless Ctrl-C is to be ignored, as under nohup or in the background of a script."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def _threads_still_running() -> bool:
    """Whether the interpreter would wait for a thread (of a download) although the user wants to leave."""
    import threading

    return any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())

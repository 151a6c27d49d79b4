"""`python -m predictor`: KServe's ModelServer with the model of --model. See --help."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from predictor.serving.settings import Settings, read_settings


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM; returns the exit status."""
    settings = read_settings(argv)
    from predictor.serving.logs import configure_logs

    configure_logs(settings.log_level)
    try:
        status = _serve(settings)
    except (OSError, ValueError, RuntimeError) as error:
        log = logging.getLogger("predictor")
        log.error(  # noqa: TRY400 - one line for people, the traceback at level debug
            str(error) or type(error).__name__, exc_info=log.isEnabledFor(logging.DEBUG)
        )
        status = 1
    if status:
        # A thread may still be inside torch; shutting the interpreter down under it would abort the process.
        logging.shutdown()
        os._exit(status)
    return status


def _serve(settings: Settings) -> int:
    # The order is the point: the model loads on its thread while this one imports kserve.
    from predictor.serving.startup import StartupTimeline, load_in_background

    timeline = StartupTimeline()
    timeline.mark("settings read")
    loading = load_in_background(settings, timeline)
    from predictor.serving.server import Server, listen

    timeline.mark("kserve imported")
    sock = listen(settings)
    return Server(loading.result(), settings, timeline, sock).run()


if __name__ == "__main__":
    sys.exit(main())

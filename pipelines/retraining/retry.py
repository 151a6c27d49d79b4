"""A step repeats itself while the database, the registry or the Broker is unavailable.

`set_retry` alone is not enough: Kubeflow Pipelines' own installation has Argo restart a pod that was lost
(`retryPolicy: OnError` in its `templateDefaults`), but not one whose program ended with an error.

Written by hand: tenacity would be one more dependency of the image for a loop of six lines.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from common.errors import UnavailableError
from predictor.storage.errors import RegistryUnavailableError

BACKOFF_SECONDS = (2.0, 4.0, 8.0)
"""The wait before each further attempt."""
TRANSIENT_ERRORS = (UnavailableError, RegistryUnavailableError)

Result = TypeVar("Result")


def retry_unavailable(act: Callable[[], Result], backoff: tuple[float, ...] = BACKOFF_SECONDS) -> Result:
    """What `act` returns. Retries TRANSIENT_ERRORS and raises the last one; any other error is raised at once."""
    for seconds in backoff:
        try:
            return act()
        except TRANSIENT_ERRORS as error:
            line = " ".join(str(error).split())[:200]
            print(f"retrying in {seconds:g} s: {line}", file=sys.stderr, flush=True)
            time.sleep(seconds)
    return act()

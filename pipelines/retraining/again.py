"""A step tries again by itself while the database, the registry or the Broker is away.

`set_retry` alone does not do that: Kubeflow Pipelines' own installation has Argo start a pod anew that was lost
(`retryPolicy: OnError` in its `templateDefaults`), but not one whose program ended with an error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from common.errors import UnavailableError
from predictor.storage.errors import RegistryUnavailableError

PAUSES = (2.0, 4.0, 8.0)
"""Seconds before each further try."""
AWAY = (UnavailableError, RegistryUnavailableError)

Result = TypeVar("Result")


def again(act: Callable[[], Result], pauses: tuple[float, ...] = PAUSES) -> Result:
    """What `act` returns; the last error when something is away for longer. Any other error at once."""
    for pause in pauses:
        try:
            return act()
        except AWAY as error:
            line = " ".join(str(error).split())[:200]
            print(f"again in {pause:g} s: {line}", file=sys.stderr, flush=True)
            time.sleep(pause)
    return act()

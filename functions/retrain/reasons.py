"""Why a retraining is in its state, or does not start: every code with its headline."""

from __future__ import annotations

from functions.reasons import Code


class ReasonCode(Code):
    """In the order of a retraining's life; the last groups are of those that do not start."""

    DRIFT_DETECTED = "drift-detected", "drift was detected"
    REQUESTED = "requested", "a retraining was requested"
    DUE = "due", "{key}"
    RETRYING = "retrying", "attempt {attempt} of {attempts} follows"
    RUN_QUEUED = "run-queued", "the run is queued"
    RUN_RUNNING = "run-running", "the run is running"
    RUN_SUCCEEDED = "run-succeeded", "the run succeeded"
    VERSION_REGISTERED = "version-registered", "version {version} was registered"
    GATE_NOT_PASSED = "gate-not-passed", "no version was registered: the gate did not pass the challenger"
    RUN_FAILED = "run-failed"
    STEPS_FAILED = "steps-failed", "the run reports SUCCEEDED, but not all of its steps do"
    RUN_REFUSED = "run-refused"
    RUN_CANCELED = "run-canceled", "the run was canceled"
    RUN_GONE = "run-gone", "the run is gone from the pipeline server"

    CHAMPION_CHANGED = "champion-changed", "the champion is version {champion} now, not version {version}"
    SUPERSEDED_BY_DRIFT = "superseded-by-drift", "a drift of version {version} takes its place"
    SUPERSEDED_BY_REQUEST = "superseded-by-request", "a newer request takes its place"
    TOO_LITTLE_FEEDBACK = (
        "too-little-feedback",
        "{labels} answers got feedback since version {version} was made, at least {needed} needed",
    )

    NOTHING_WAITING = "nothing-waiting", "no drift and no request waits for a retraining"
    NO_CHAMPION = "no-champion", "the model has no champion now"
    RUN_ACTIVE = "run-active", "retraining {key} is {state}"
    COOLING_DOWN = "cooling-down", "the cool-down after the last run lasts {seconds:.0f} s more"
    UNKNOWN = "unknown"

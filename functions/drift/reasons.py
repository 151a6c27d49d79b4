"""Why a drift check came to its verdict: every code with its headline. Details name what moved.

The last two are an operator's override of the baseline, recorded between the checks; details name the operator.
"""

from __future__ import annotations

from functions.reasons import Code


class ReasonCode(Code):
    REFERENCE_MISSING = (
        "reference-missing",
        "version {version} has no reference.json; register it by the pipeline, which writes one",
    )
    REFERENCE_UNUSABLE = "reference-unusable", "version {version}"
    REFERENCE_TOO_SMALL = (
        "reference-too-small",
        "the reference of version {version} holds {n} answers, {needed} needed",
    )
    SAMPLE_TOO_SMALL = "sample-too-small", "{n} answers in the window, {needed} needed"
    WINDOW_GROWING = "window-growing", "no feature moved in {n} answers; the window grows to {enough}"
    NO_CHANGE = "no-change", "no feature moved in {n} answers"
    RECOVERING = "recovering", "quiet for {calm} of the {recover_after} windows that end an alarm"
    SUSPECTED = "suspected", "window {windows} of {consecutive} in a row"
    DETECTED = "detected", "{windows} windows in a row, {n} answers against {n_reference}"
    STILL_DRIFTED = "still-drifted", "still drifted, alarm raised before"
    REMINDER = "reminder", "still drifted {hours:.0f} h after the last alarm"
    BASELINE_ACCEPTED = "baseline-accepted", "{n} answers of version {version} are its baseline from now on"
    BASELINE_UNDONE = "baseline-undone", "the accepted baseline of version {version} no longer counts"
    UNKNOWN = "unknown"

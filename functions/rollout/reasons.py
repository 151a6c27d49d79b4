"""Why the rollout decided as it did: every code with its headline. Details follow it, free text included."""

from __future__ import annotations

from functions.reasons import Code


class ReasonCode(Code):
    """Codes of decisions; the last group explains why no rollout continues, as the cause of another."""

    NO_INFERENCE_SERVICE = "no-inference-service", "there is no InferenceService: apply the manifests in kserve/"
    NOTHING_DEPLOYED = "nothing-deployed", "nothing is deployed yet: the first InferenceService comes from kserve/"
    NO_CHAMPION = "no-champion", "no version has the alias champion: set it on the version to serve"

    AWAITING_CONTROLLER = "awaiting-controller", "the controller has not seen the last change yet"
    REVISION_STARTING = "revision-starting", "version {version} is starting"
    FIRST_DEPLOYMENT = (
        "first-deployment",
        "first deployment of version {version} (a canary needs one that was rolled out)",
    )
    TRAFFIC_WITHDRAWN = "traffic-withdrawn", "no more traffic to version {version}"
    RESTORING_CHAMPION = "restoring-champion", "back to version {version}"
    CHAMPION_READY = "champion-ready", "version {version} is ready and gets all traffic"
    CHAMPION_SERVES_ALONE = "champion-serves-alone", "version {version} serves alone"
    CHAMPION_SERVES = "champion-serves", "version {version} serves"

    ROLLOUT_SUPERSEDED = "rollout-superseded", "the rollout of version {previous} is over, {version} is next"
    CANARY_STARTING = (
        "canary-starting",
        "challenger {version} against champion {champion}: its revision starts without traffic",
    )
    STEP_RECORDED = "step-recorded", "challenger {version} is at {percent}% from now on"
    REVISION_READY = "revision-ready", "version {version} is ready: {percent}% of the traffic to it"
    STEP_ANALYSING = "step-analysing", "{minutes:.0f} min at {percent}%"
    STEP_PASSED = "step-passed", "passed at {percent}%"
    STEP_INCONCLUSIVE = "step-inconclusive", "inconclusive after {hours:.1f} h at {percent}%, promote or abort it"

    HELD_BEFORE_START = "held-before-start", "challenger {version} is held by the operator"
    HELD = "held", "held at {percent}% by the operator"
    CANARY_SKIPPED = "canary-skipped", "promoted by the operator, without its canary"
    ABORTED = "aborted", "aborted by the operator"

    PROMOTE_REQUESTED = (
        "promote-requested",
        "the operator wants challenger {version} promoted, whatever its canary shows",
    )
    HOLD_REQUESTED = "hold-requested", "the operator wants challenger {version} held at its share of the traffic"
    ABORT_REQUESTED = "abort-requested", "the operator wants challenger {version} taken back"
    RESUME_REQUESTED = (
        "resume-requested",
        "the operator withdraws the override ({override}) of challenger {version}: its evidence decides again",
    )

    DEAD_LETTERS_REPLAYED = "dead-letters-replayed", "the operator wants dead letters sent again: {n}"
    DEAD_LETTERS_DISCARDED = "dead-letters-discarded", "the operator gives dead letters up: {n}"

    ANALYSIS_FAILED = "analysis-failed", "failed at {percent}%"
    START_TIMEOUT = "start-timeout", "its revision was not ready after {seconds:.0f} s"
    SHARE_WITHDRAWN = "share-withdrawn", "its share was taken back from {percent}%"

    CANARY_PASSED = "canary-passed", "version {version} passed: all traffic to it"
    PREVIOUS_CHAMPION_KEPT = "previous-champion-kept", "version {version} is kept as previous_champion"
    ROLLOUT_COMPLETED = "rollout-completed", "version {version} passed its canary and serves all traffic"
    CHAMPION_PROMOTED = "champion-promoted", "version {version} is champion after {previous}"
    PROMOTION_FINISHED = "promotion-finished", "version {version} is champion"

    CONFLICT = "conflict", "the InferenceService changed in the meantime, the next reconciliation reads it again"

    NO_CHALLENGER = "no-challenger", "there is no challenger"
    CHALLENGER_ROLLED_BACK = (
        "challenger-rolled-back",
        "challenger {version} was rolled back from {champion} (remove its tag {tag!r} to retry)",
    )
    CHALLENGER_WAITING = "challenger-waiting", "challenger {version} waits for the champion to serve"
    CHAMPION_NOT_SERVING = "champion-not-serving", "champion {version} has to serve before its challenger"
    CANARY_NOT_PASSED = "canary-not-passed", "version {version} has all traffic but has not passed a canary"

    UNKNOWN = "unknown"

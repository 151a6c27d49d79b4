"""What operators do with dead letters, in the decision log: the one place that says who intervened in the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from sqlalchemy import Connection

from functions.reasons import InitiatedBy, Reason
from functions.rollout import store
from functions.rollout.actions import ActionType
from functions.rollout.reasons import ReasonCode

Action = Literal["replay", "discard"]
NAMED = 20
"""Dead letters that are named; of more, the log has their number."""
NAME_LIMIT = 200

_CODES: Final[dict[Action, ReasonCode]] = {
    "replay": ReasonCode.DEAD_LETTERS_REPLAYED,
    "discard": ReasonCode.DEAD_LETTERS_DISCARDED,
}


def note(
    connection: Connection, model: str, action: Action, letters: Sequence[tuple[str, str]], by: str, now: float
) -> None:
    """That `by` wants it done with these `letters`, each its name and its event's type: noted before it is done.

    Where the rollout is stays what the last decision says.
    """
    who = " ".join(by.split())[:NAME_LIMIT]
    details = [f"{name} ({kind[:NAME_LIMIT]})" for name, kind in letters[:NAMED]]
    if len(letters) > NAMED:
        details.append("…")
    params = {"n": len(letters), "by": who, "letters": [name for name, _ in letters[:NAMED]]}
    reason = Reason(_CODES[action], params, (who, ", ".join(details)), initiated_by=InitiatedBy.OPERATOR)
    last = store.last_decision(connection, model) or {"phase": "idle", "generation": ""}
    where = {name: last.get(name) for name in ("phase", "percent", "generation", "champion", "challenger")}
    row = {
        **where,
        "action": f"{action} {len(letters)} dead letters",
        "action_type": str(ActionType.DEAD_LETTERS),
        **reason.to_columns(),
        "at": now,
    }
    store.append_decision(connection, model, row)

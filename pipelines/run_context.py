"""Which retraining a run of the pipeline is: what the first step finds out and every later one is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self


class RunContextError(ValueError):
    """What a step was handed is not a run context; one line that names the field."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """The identity of one retraining. "" stands for what is not known, or not yet.

    `run_key` (64 hex digits) is the retraining, which may take several runs of the pipeline; `pipeline_run` is the id
    of this one at the pipeline server. `champion` is the version to train from and to compare with. `traceparent` is
    W3C's. `drift_event` is the source and id of what asked for it. `registered` is the version that an earlier run
    under this key has registered already.
    """

    run_key: str = ""
    model: str = ""
    champion: str = ""
    reason: str = ""
    traceparent: str = ""
    drift_event: str = ""
    pipeline_run: str = ""
    registered: str = ""

    def to_dict(self) -> dict[str, str]:
        """The JSON form, which Kubeflow passes from step to step."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Reads what `to_dict` wrote. RunContextError when it is not usable.

        A context from a step of an older or newer version of this pipeline is read, too: fields that it lacks are "",
        those it has beyond ours are ignored. Without run_key, model or pipeline_run no step can do its work.
        """
        if not isinstance(data, Mapping):
            raise RunContextError(f"the run context must be an object, found {type(data).__name__}")
        values = {name: data.get(name, "") for name in (field.name for field in fields(cls))}
        for name, value in values.items():
            if not isinstance(value, str):
                raise RunContextError(f"run context: {name} must be a string, found {value!r}"[:200])
        for name in ("run_key", "model", "pipeline_run"):
            if not values[name]:
                raise RunContextError(f"run context: {name} is missing")
        return cls(**values)

    def filled(self, values: Mapping[str, str]) -> Self:
        """This context with what it lacks taken from `values`; other keys there are ignored."""
        known = {field.name for field in fields(self)}
        lacking = {name: value for name, value in values.items() if name in known and not getattr(self, name)}
        return replace(self, **lacking)

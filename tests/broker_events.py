"""An event with an attribute of every kind that CloudEvents knows in JSON: string, Boolean, whole number."""

from __future__ import annotations

from local.broker.cloudevent import CloudEvent

EVENT = CloudEvent(
    {
        "specversion": "1.0",
        "id": "1",
        "source": "/mcqa/predictor",
        "type": "dev.cdeventsx.mcqa-drift.detected",
        "subject": "coding-mcqa",
        "flag": True,
        "count": 7,
    }
)

"""Every table of the loop in one metadata: what the migrations must lead to."""

from __future__ import annotations

from sqlalchemy import MetaData

from functions.collect import tables as collect
from functions.database import Base
from functions.dead_letters import tables as dead_letters
from functions.drift import tables as drift
from functions.notify import tables as notify
from functions.retrain import tables as retrain
from functions.rollout import tables as rollout

TABLES = (collect, dead_letters, drift, notify, retrain, rollout)


def metadata() -> MetaData:
    return Base.metadata

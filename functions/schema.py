"""Every table of the loop in one metadata: what the migrations must arrive at."""

from __future__ import annotations

from sqlalchemy import MetaData

from functions.collect import tables as collect
from functions.database import Base
from functions.dead_letters import tables as dead_letters
from functions.notify import tables as notify

TABLES = (collect, dead_letters, notify)


def metadata() -> MetaData:
    return Base.metadata

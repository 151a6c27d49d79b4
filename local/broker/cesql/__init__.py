"""CloudEvents SQL 1.0: `parse` an expression once, `evaluate` it against any number of events.

Hand-written: PyPI has no implementation, and the published ANTLR grammar would need ANTLR's runtime.
"""

from local.broker.cesql.evaluator import Result, evaluate, passes
from local.broker.cesql.parser import ParseError, parse
from local.broker.cesql.values import CesqlError, ErrorKind

__all__ = ["CesqlError", "ErrorKind", "ParseError", "Result", "evaluate", "parse", "passes"]

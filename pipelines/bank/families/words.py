"""Short words for questions about text. Few and plain: the question is about the method, not about the word."""

from __future__ import annotations

import random

# fmt: off
WORDS = (
    "code", "loop", "list", "dict", "node", "tree", "heap", "hash", "data", "byte", "file", "path", "user", "name",
    "port", "host", "lock", "task", "test", "main", "item", "line", "text", "page", "view", "push", "pull", "fork",
    "join", "sort", "find", "copy", "move", "read", "open", "send", "recv", "sync", "wait", "kill", "stop", "exit",
    "type", "void", "null", "true", "cache", "queue", "stack", "graph", "array", "index", "value", "class", "token",
    "parse", "build", "debug", "error", "print", "shell", "query", "table", "merge", "patch", "api", "bit", "cpu",
    "key", "log", "map", "set", "sum", "tag", "url", "zip", "run", "commit", "branch", "thread", "server", "object",
    "string", "module", "script",
)
# fmt: on


def word(rng: random.Random) -> str:
    return rng.choice(WORDS)


def words(rng: random.Random, n: int) -> list[str]:
    return rng.sample(WORDS, n)

"""SQL over one small table, answered by SQLite."""

from __future__ import annotations

import random
import sqlite3

from pipelines.bank.draft import Draft, Family

STEM = "What does this query return?"
TABLE = "create table t(a, b);"


def rows_of(script: str) -> str:
    """What the last statement returns: values joined by slashes, rows by commas, NULL by that name."""
    *setup, query = [s.strip() for s in script.split(";") if s.strip()]
    with sqlite3.connect(":memory:") as db:
        try:
            for statement in setup:
                db.execute(statement)
            rows = db.execute(query).fetchall()
        except sqlite3.Error as error:
            return type(error).__name__
    db.close()
    return ", ".join("/".join("NULL" if v is None else str(v) for v in row) for row in rows) or "no rows"


def _asked(
    rng: random.Random, values: list[tuple[object, object]], query: str, mistakes: list[str], extra: list[str]
) -> Draft:
    def literal(v: object) -> str:
        return "null" if v is None else repr(v)

    head = f"{TABLE}\ninsert into t values {', '.join(f'({literal(a)}, {literal(b)})' for a, b in values)};\n"
    rng.shuffle(extra)
    return Draft(STEM, rows_of(head + query), (*(rows_of(head + m) for m in mistakes), *extra), head + query)


def aggregate(rng: random.Random) -> Draft:
    """count(*) counts rows, count(b) counts values that are not NULL; sum, max and min ignore NULL."""
    values: list[tuple[object, object]] = [
        (rng.randint(1, 5), rng.choice((None, rng.randint(1, 9)))) for _ in range(rng.randint(2, 4))
    ]
    queries = [
        "count(*)",
        "count(b)",
        "sum(b)",
        "max(b)",
        "min(a)",
        "max(a)",
        "sum(a)",
        "count(distinct a)",
        "count(a)",
    ]
    asked = rng.choice(queries)
    others = [q for q in queries if q != asked]
    return _asked(
        rng, values, f"select {asked} from t", [f"select {q} from t" for q in rng.sample(others, 5)], ["NULL", "0"]
    )


def where(rng: random.Random) -> Draft:
    firsts = rng.sample(range(1, 10), rng.randint(3, 4))
    values: list[tuple[object, object]] = [(a, rng.choice(("x", "y", None))) for a in firsts]
    k = rng.choice(firsts)
    tests = [
        f"a > {k}",
        f"a < {k}",
        f"a >= {k}",
        f"a <> {k}",
        "b = 'x'",
        "b <> 'x'",
        "b is null",
        "b is not null",
        "b = null",
        "a % 2 = 0",
        "b in ('y')",
    ]
    asked = rng.choice(tests)
    column = rng.choice(("a", "count(*)"))
    others = [f"select {column} from t where {test}" for test in tests if test != asked]
    rng.shuffle(others)
    extra = ["no rows", "NULL"] if column == "a" else ["0", "1", "2", "3"]
    return _asked(rng, values, f"select {column} from t where {asked}", others, extra)


def order(rng: random.Random) -> Draft:
    values: list[tuple[object, object]] = list(zip(rng.sample(range(1, 10), 3), rng.sample("wxyz", 3), strict=True))
    queries = [
        "select a from t order by a",
        "select a from t order by a desc",
        "select b from t order by a",
        "select b from t order by a desc",
        "select a from t order by b",
        "select a from t order by a limit 1",
        "select a from t order by a desc limit 1",
        "select a from t order by a limit 1 offset 1",
        "select a from t order by a limit 2",
        "select b from t order by b desc",
        "select b from t order by a limit 1",
    ]
    asked = rng.choice(queries)
    short = "limit 1" in asked
    others = [q for q in queries if q != asked and ("limit 1" in q) == short]
    rng.shuffle(others)
    return _asked(rng, values, asked, others, [str(v) for pair in values for v in pair] if short else [])


def group(rng: random.Random) -> Draft:
    names = rng.sample("wxyz", 2)
    values: list[tuple[object, object]] = [(rng.choice(names), rng.randint(1, 5)) for _ in range(rng.randint(3, 4))]
    queries = [
        "select a, count(*) from t group by a order by a",
        "select a, sum(b) from t group by a order by a",
        "select a, max(b) from t group by a order by a",
        "select a, min(b) from t group by a order by a",
        "select a from t group by a having count(*) > 1 order by a",
        "select distinct a from t order by a",
        "select count(distinct a) from t",
        "select a, count(*) from t group by a having count(*) > 1 order by a",
    ]
    asked = rng.choice(queries)
    others = [q for q in queries if q != asked]
    rng.shuffle(others)
    return _asked(rng, values, asked, others, [])


FAMILIES = (
    Family("sql-aggregate", "sql", aggregate),
    Family("sql-where", "sql", where),
    Family("sql-order", "sql", order),
    Family("sql-group", "sql", group),
)

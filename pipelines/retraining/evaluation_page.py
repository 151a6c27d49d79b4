"""The evaluation as an HTML page for Kubeflow's and MLflow's user interfaces: one file that loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.evaluation.report import Report

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0;width:100%}"
    "th,td{border-bottom:1px solid #ddd;padding:.3rem .6rem;text-align:right}"
    "th:first-child,td:first-child{text-align:left}"
    "svg{width:9rem;height:.8rem}"
)
TITLES = {"current": "Today's mix", "old": "Old mix"}


def render(title: str, reports: Mapping[tuple[str, str], Report], numbers: Mapping[str, float]) -> str:
    """Both versions on each mix, overall and by subject, with 95% Wilson intervals."""
    parts = [f"<h1>{escape(title)}</h1>"]
    for mix in TITLES:
        if ("challenger", mix) in reports:
            parts.append(_tables(TITLES[mix], reports["champion", mix], reports["challenger", mix]))
    if "champion_median_ms" in numbers:
        before, after = numbers["champion_median_ms"], numbers["challenger_median_ms"]
        parts.append(f"<p>Median time of one question: {before:.1f} ms before, {after:.1f} ms now.</p>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><body>{''.join(parts)}</body></html>"
    )


def _tables(title: str, before: Report, after: Report) -> str:
    rows = [_row("all subjects", before, after, None)]
    rows += [_row(subject or "no subject", before, after, subject) for subject in after.subjects]
    head = "<tr><th>subject</th><th>champion</th><th>challenger</th><th>change</th><th></th><th>questions</th></tr>"
    quality = "".join(
        f"<tr><td>{name}</td><td>{_number(a)}</td><td>{_number(b)}</td></tr>"
        for name, a, b in (
            ("Brier score", before.brier, after.brier),
            ("negative log-likelihood, nats", before.nll, after.nll),
            ("expected calibration error", before.ece, after.ece),
            ("spread of the letters' recalls", before.rstd, after.rstd),
        )
    )
    return (
        f"<h2>{escape(title)}</h2><table>{head}{''.join(rows)}</table>"
        f"<table><tr><th>measure</th><th>champion</th><th>challenger</th></tr>{quality}</table>"
    )


def _row(name: str, before: Report, after: Report, subject: str | None) -> str:
    a, b = (
        report.accuracy if subject is None else report.subjects[subject]
        for report in (before, after)
    )  # fmt: skip
    bars = (
        '<svg viewBox="0 0 100 8" preserveAspectRatio="none">'
        f'<rect width="{100 * a.value:.1f}" height="3" fill="#9aa5b1"/>'
        f'<rect y="4" width="{100 * b.value:.1f}" height="4" fill="#3b76af"/></svg>'
    )
    return (
        f"<tr><td>{escape(name)}</td><td>{a.value:.1%} [{a.low:.1%}, {a.high:.1%}]</td>"
        f"<td>{b.value:.1%} [{b.low:.1%}, {b.high:.1%}]</td><td>{100 * (b.value - a.value):+.1f}</td>"
        f"<td>{bars}</td><td>{b.total}</td></tr>"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

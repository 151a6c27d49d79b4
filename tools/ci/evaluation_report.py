"""The evaluation gate's verdict as one HTML file that needs no network and no scripts (Jenkins forbids them)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Evaluation of {{ gate.model }}</title><style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .2rem .8rem; text-align: right; }
th { border-bottom: 1px solid #888; } th:first-child, td:first-child { text-align: left; }
.passed { color: #18692f; } .failed { color: #b3261e; } img { max-width: 30rem; width: 100%; }
</style></head><body>
<h1>{{ gate.model }}: <span class="{{ word(gate.passed) }}">{{ word(gate.passed) }}</span></h1>
<p>{{ gate.questions }} questions of {{ report.questions.bank }} ({{ report.questions.split }}, seed
{{ report.questions.seed }}) against the baseline of {{ gate.baseline }}: {{ gate.gained }} gained,
{{ gate.lost }} lost. Measured {{ report.started }}{% if report.model.device %} on {{ report.model.device }},
{{ report.model.dtype }}{% endif %}.
</p>
<table><tr><th>check</th><th>baseline</th><th>now</th><th>worse by</th><th>at most (95%)</th><th>allowed</th>
<th></th></tr>
{% for check in gate.checks %}<tr><td>{{ check.name }}</td><td>{{ "%.3f" % check.baseline }}</td>
<td>{{ "%.3f" % check.found }}</td><td>{{ "%+.3f" % check.worse }}</td><td>{{ "%+.3f" % check.bound }}</td>
<td>{{ "%.3f" % check.margin }}</td><td class="{{ word(check.passed) }}">{{ word(check.passed) }}</td></tr>
{% endfor %}</table>
<table><tr><th>figure</th><th>value</th></tr>
<tr><td>accuracy</td><td>{{ "%.1f" % (100 * report.accuracy.value) }}%
({{ "%.1f" % (100 * report.accuracy.low) }} to {{ "%.1f" % (100 * report.accuracy.high) }})</td></tr>
<tr><td>chance</td><td>{{ "%.1f" % (100 * report.chance) }}%</td></tr>
<tr><td>Brier (0 best, 2 worst)</td><td>{{ "%.3f" % report.brier }}</td></tr>
<tr><td>NLL, nats per question</td><td>{{ "%.3f" % report.nll }}</td></tr>
<tr><td>ECE</td><td>{% if report.ece.value is none %}{{ report.ece.reason }}{% else %}{{ "%.3f" % report.ece.value }}
{% endif %}</td></tr>
<tr><td>letter bias (RStd)</td><td>{{ "%.3f" % report.letters.rstd }}</td></tr></table>
<table><tr><th>subject</th><th>questions</th><th>accuracy</th><th>95% interval</th></tr>
{% for name, share in subjects %}<tr><td>{{ name or "(none)" }}</td><td>{{ share.total }}</td>
<td>{{ "%.1f" % (100 * share.value) }}%</td>
<td>{{ "%.1f" % (100 * share.low) }} to {{ "%.1f" % (100 * share.high) }}</td></tr>
{% endfor %}</table>
{% if diagram %}<p><img alt="reliability diagram" src="data:image/png;base64,{{ diagram }}"></p>{% endif %}
</body></html>
"""


def html(gate: Mapping[str, Any], report: Mapping[str, Any], diagram: Path) -> str:
    """`gate` and `report` as in gate.json and report.json; the diagram is left out where there is none."""
    template = Environment(autoescape=True).from_string(TEMPLATE)
    image = base64.b64encode(diagram.read_bytes()).decode() if diagram.is_file() else ""
    subjects = sorted(report["subjects"].items(), key=lambda item: item[1]["value"])
    return template.render(gate=gate, report=report, subjects=subjects, diagram=image, word=_word)


def _word(passed: bool) -> str:
    return "passed" if passed else "failed"

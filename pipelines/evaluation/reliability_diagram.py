"""The reliability diagram (Guo et al. 2017, figure 1) as PNG: is the model right as often as it is confident?"""

from __future__ import annotations

from pathlib import Path

from pipelines.evaluation.report import Report

RIGHT, GAP, LINE = "#3b76af", "#d1605e", "#444444"


def draw(report: Report, path: Path) -> None:
    """Writes accuracy by confidence bin with the gap to the diagonal, and below it the number of answers per bin."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(6.4, 7.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bins = [b for b in report.bins if b.count]
    left = [b.low for b in bins]
    width = [b.high - b.low for b in bins]
    accuracy = [b.accuracy for b in bins]

    upper.plot([0, 1], [0, 1], "--", color=LINE, linewidth=1, label="perfectly calibrated", zorder=3)
    upper.bar(left, accuracy, width, align="edge", color=RIGHT, edgecolor="white", label="accuracy", zorder=1)
    upper.bar(
        left,
        [b.gap for b in bins],
        width,
        bottom=accuracy,
        align="edge",
        color=(GAP, 0.25),
        edgecolor=GAP,
        hatch="///",
        linewidth=0.8,
        label="gap: confidence − accuracy",
        zorder=2,
    )
    ece = f"no ECE: {report.ece_reason}" if report.ece is None else f"ECE {report.ece:.3f}"
    figure.suptitle(f"{report.model.version} · {report.questions.bank}, {report.questions.split}", fontweight="bold")
    upper.set_title(
        f"n = {len(report.records)} · debias {report.debias} · accuracy {report.accuracy.value:.1%}"
        f" [{report.accuracy.low:.1%}, {report.accuracy.high:.1%}]\n"
        f"{ece} · Brier {report.brier:.3f} · NLL {report.nll:.3f}",
        fontsize=9,
    )
    upper.set_ylabel("accuracy")
    upper.set_ylim(0, 1)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)

    bars = lower.bar(left, [b.count for b in bins], width, align="edge", color="#9aa5b1", edgecolor="white")
    lower.bar_label(bars, fontsize=7, padding=1)
    lower.margins(y=0.2)
    lower.set_ylabel("answers")
    lower.set_xlabel("confidence (probability of the chosen letter)")
    lower.set_xlim(0, 1)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#eeeeee", zorder=0)
        axes.set_axisbelow(True)
    upper.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    lower.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")

"""Figures of named shares and counts: reconstruction by field, rejections by reason."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from archpress_trainer.report.drawing import Panel, Section, draw
from archpress_trainer.report.facts import ReportFacts
from archpress_trainer.report.palette import BLUE, FAINT, INK, MUTED, ORANGE
from archpress_trainer.report.scales import percent, short_count

_ROW_HEIGHT = 44
_MOST_REASONS = 10


def reconstruction_section(facts: ReportFacts) -> Section:
    """Return the share of unseen nets whose field comes back right, by field."""
    shares = dict(facts.figures.reconstruction)
    title = "Exact reconstruction, by field"
    if not shares:
        return Section(
            "reconstruction", title, missing=facts.missing_part("reconstruction by field")
        )
    worst = min(shares, key=lambda field: shares[field])
    whole = facts.manifest.metrics.get("exact_reconstruction")
    see = (
        "The share of unseen nets for which encoding and decoding gives a field of every layer "
        f"back unchanged. The hardest is {worst}, {percent(shares[worst], 2)}"
    )
    see += f"; whole nets {percent(whole, 2)}." if whole is not None else "."
    return Section(
        "reconstruction",
        title,
        see=see,
        distrust="Distrust descent where these are low: a point then stands for no certain net, "
        "and what is decoded is not what was scored.",
        panels=(_shares_panel(shares, whole),),
    )


def rejections_section(facts: ReportFacts) -> Section:
    """Return what the sampler refused, by reason."""
    counts = {reason: n for reason, n in facts.figures.rejections.items() if n > 0}
    title = "What the sampler refused"
    if not counts:
        return Section("rejections", title, missing=facts.missing_part("rejections"))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ordered[:_MOST_REASONS], ordered[_MOST_REASONS:]
    if rest:
        shown.append((f"{len(rest)} more reasons", sum(n for _, n in rest)))
    return Section(
        "rejections",
        title,
        see=f"Why {sum(counts.values()):,} proposed nets never became part of the sample.",
        distrust="Distrust the embedding's coverage where a budget or a rule refuses most "
        "proposals: nets near that limit are then rare in what it learned from.",
        panels=(_counts_panel(shown),),
    )


def _shares_panel(shares: dict[str, float], whole: float | None) -> Panel:
    rows = [(field, share, BLUE) for field, share in shares.items()]
    if whole is not None:
        rows.append(("whole net", whole, ORANGE))

    def plot(axes: Axes) -> None:
        least = min(share for _, share, _ in rows)
        span = max(1 - least, 0.004) * 1.15
        low = max(0.0, 1 - span)
        for place, (_, share, color) in enumerate(rows):
            axes.plot([low, 1], [place, place], color=FAINT, linewidth=1, alpha=0.6)
            axes.plot(share, place, "o", color=color, markersize=9, clip_on=False)
        # Beyond the last tick, where no dot can be.
        for place, (_, share, color) in enumerate(rows):
            axes.text(
                1.04,
                place,
                percent(share, 2),
                transform=axes.get_yaxis_transform(),
                va="center",
                color=color,
            )
        axes.set_yticks(range(len(rows)), [field for field, _, _ in rows])
        axes.tick_params(axis="y", length=0, pad=10, labelcolor=INK)
        axes.invert_yaxis()
        axes.set_xlim(low, 1 + 0.02 * span)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value, 2)))
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        cut = " (axis does not start at 0)" if low > 0 else ""
        axes.set_xlabel(f"unseen nets that come back right{cut}")

    height = 70 + _ROW_HEIGHT * len(rows)
    return draw("reconstruction-shares", "Exact reconstruction by field", plot, height=height)


def _counts_panel(counts: list[tuple[str, int]]) -> Panel:
    total = sum(n for _, n in counts)

    def plot(axes: Axes) -> None:
        places = np.arange(len(counts))
        axes.barh(places, [n for _, n in counts], height=0.32, color=BLUE, alpha=0.85)
        for place, (reason, n) in enumerate(counts):
            # Above its bar, so that a long reason needs no margin.
            axes.annotate(
                reason,
                (0, place - 0.2),
                xytext=(1, 3),
                textcoords="offset points",
                va="bottom",
                color=INK,
            )
            axes.annotate(
                f"{n:,}  ({_part(n / total)})",
                (1, place - 0.2),
                xycoords=axes.get_yaxis_transform(),
                xytext=(-1, 3),
                textcoords="offset points",
                ha="right",
                va="bottom",
                color=MUTED,
            )
        axes.set_ylim(len(counts) - 0.6, -0.75)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))
        axes.set_xlabel("refused proposals")

    height = 60 + _ROW_HEIGHT * len(counts)
    return draw("rejections-counts", "Rejections of the sampler by reason", plot, height=height)


def _part(share: float) -> str:
    """Return a share in percent that does not round what is there to nothing."""
    return percent(share) if share >= 0.0005 else "<0.1%"

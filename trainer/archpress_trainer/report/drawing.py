"""From a matplotlib figure to an SVG that can stand inside the page, the same bytes every time."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from archpress_trainer.report.palette import INK, MUTED, RULE, SURFACE, themed

WIDTH = 440
"""Width of a panel in its own units, about pixels on a wide screen."""

_POINTS_PER_INCH = 72

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12,
    "axes.linewidth": 1.0,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "figure.facecolor": "none",
    "font.size": 12,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "legend.edgecolor": RULE,
    "legend.facecolor": SURFACE,
    "legend.fontsize": 11.5,
    "legend.framealpha": 0.85,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "text.color": INK,
    # Names are names, whatever signs they hold.
    "text.parse_math": False,
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 11.5,
    "xtick.minor.visible": False,
    "ytick.color": RULE,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 11.5,
    "ytick.minor.visible": False,
}


@dataclass(frozen=True)
class Panel:
    """One drawing: its name on the page, its SVG and its width in pixels."""

    name: str
    svg: Markup
    width: int


@dataclass(frozen=True)
class Section:
    """One figure of the report: what to see, when to distrust the embedding, the drawings.

    `notes` are numbers that belong to it, a line each; `missing` says in one line
    why there are no drawings.
    """

    name: str
    title: str
    see: str = ""
    distrust: str = ""
    notes: tuple[str, ...] = ()
    panels: tuple[Panel, ...] = ()
    missing: str = ""


def draw(
    name: str, label: str, plot: Callable[[Axes], None], *, width: int = WIDTH, height: int = 320
) -> Panel:
    """Return the panel that `plot` draws.

    Args:
        name: its id on the page; no two panels may share one.
        label: what it shows, for those who hear the page read.
        plot: draws on the axes.
        width: in pixels.
        height: in pixels.
    """
    # Whatever the user's own settings of matplotlib say, the page looks the same.
    with style.context(["default", {**_STYLE, "svg.hashsalt": name}]):
        size = (width / _POINTS_PER_INCH, height / _POINTS_PER_INCH)
        figure = Figure(figsize=size, layout="constrained")
        plot(figure.add_subplot())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return Panel(name, Markup(_inline(text.getvalue(), name, label)), width)


def _inline(svg: str, name: str, label: str) -> str:
    body = svg[svg.index("<svg") :]
    body = body[body.index(">") + 1 :]
    body = re.sub("<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    view = re.search('viewBox="([^"]*)"', svg)
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)
    body = body.replace("image-rendering:crisp-edges;image-rendering:pixelated", "")
    body = re.sub(r' (d|x|y)="([^"]*)"', _rounded, body)
    body = _own_ids(body, name)
    body = _classes(body, name)
    return (
        f'<svg class="plot" id="{name}" role="img" aria-label="{escape(label)}" '
        f'viewBox="{view[1] if view else ""}">{themed(body)}'
    )


def _rounded(match: re.Match[str]) -> str:
    values = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}", match[2])
    return f' {match[1]}="{" ".join(values.split())}"'


def _own_ids(body: str, name: str) -> str:
    """Number the ids that something refers to and drop the rest, which all drawings share."""
    used = dict.fromkeys(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    names = {old: f"{name}-{number}" for number, old in enumerate(used)}

    def defined(match: re.Match[str]) -> str:
        return f' id="{names[match[1]]}"' if match[1] in names else ""

    body = re.sub(r' id="([^"]*)"', defined, body)
    return re.sub(r'(url\(#|href="#)([^)"]+)', lambda match: f"{match[1]}{names[match[2]]}", body)


def _classes(body: str, name: str) -> str:
    """Give marks that look the same a class: with thousands of them most of the page is style."""
    pattern = r'(?: clip-path="(url\([^)]*\))")? style="([^"]*)"'
    often = Counter(re.findall(pattern, body))
    looks = {look: f"s{place}" for place, look in enumerate(often) if often[look] > 1}

    def short(match: re.Match[str]) -> str:
        look = looks.get((match[1] or "", match[2]))
        return f' class="{look}"' if look else match[0]

    rules = "".join(
        f"#{name} .{look} {{ {f'clip-path: {clip}; ' if clip else ''}{declared} }}\n"
        for (clip, declared), look in looks.items()
    )
    return f"<style>{rules}</style>{re.sub(pattern, short, body)}"

"""The page's colours: one place for the figures' and the style sheet's, light and dark.

Figures are drawn in placeholder colours, which `themed` turns into the style sheet's variables,
so that one figure serves both schemes. Every pair that must be told apart differs in lightness
too, and hues avoid red against green.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.colors import ListedColormap, to_hex

STEPS = 16
"""Colours of a ramp; few enough to be variables of the style sheet."""

INK = "#010001"
MUTED = "#010002"
RULE = "#010003"
SURFACE = "#010004"
BLUE = "#010005"
ORANGE = "#010006"
GREEN = "#010007"
PINK = "#010008"
FAINT = "#010009"

SERIES = (BLUE, ORANGE, GREEN, PINK)

_NAMES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    SURFACE: "surface",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    PINK: "pink",
    FAINT: "faint",
}
_LIGHT = {
    "ink": "#1d2329",
    "muted": "#59636e",
    "rule": "#dde1e6",
    "surface": "#ffffff",
    "page": "#f6f7f9",
    "blue": "#1f6fb4",
    "orange": "#c65a06",
    "green": "#00806b",
    "pink": "#ae4585",
    "faint": "#b4bcc6",
}
_DARK = {
    "ink": "#e8eaed",
    "muted": "#a0a8b2",
    "rule": "#333a43",
    "surface": "#181c21",
    "page": "#101317",
    "blue": "#6cb0ee",
    "orange": "#f2994a",
    "green": "#45c4a8",
    "pink": "#e68fc0",
    "faint": "#59626d",
}


def _ramp(prefix: int) -> tuple[str, ...]:
    return tuple(f"#{prefix:02x}00{step:02x}" for step in range(STEPS))


_ACCURACY, _SIZE = _ramp(2), _ramp(3)
ACCURACY_RAMP = ListedColormap(_ACCURACY, name="accuracy")
SIZE_RAMP = ListedColormap(_SIZE, name="size")

_VARIABLES = {
    **{color: f"var(--{name})" for color, name in _NAMES.items()},
    **{color: f"var(--accuracy-{step})" for step, color in enumerate(_ACCURACY)},
    **{color: f"var(--size-{step})" for step, color in enumerate(_SIZE)},
}


def themed(svg: str) -> str:
    """Return a drawing with variables of the style sheet for its placeholder colours."""
    return re.sub("#0[123]00[0-9a-f]{2}", lambda match: _VARIABLES[match[0]], svg)


def variables(*, dark: bool) -> str:
    """Return the style sheet's declarations of one scheme.

    What is high stands out from the page in both: dark on light, light on dark.
    """
    # Ends that stay visible on the page: neither its own lightness nor close to it.
    ramps: Sequence[tuple[str, str, float, float]] = (
        (("accuracy", "viridis", 0.16, 0.97), ("size", "YlOrBr_r", 0.12, 0.85))
        if dark
        else (("accuracy", "viridis_r", 0.14, 0.98), ("size", "YlOrBr", 0.3, 1.0))
    )
    values = dict(_DARK if dark else _LIGHT)
    for name, source, low, high in ramps:
        for step in range(STEPS):
            color = colormaps[source](low + (high - low) * step / (STEPS - 1))
            values[f"{name}-{step}"] = to_hex(color)
    return " ".join(f"--{name}: {value};" for name, value in values.items())

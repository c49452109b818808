"""What a browser is asked about a page of figures."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.image import imread

from tests.trainer.report.browser import Page

PANELS = """
[...document.querySelectorAll("svg.plot")].map(svg => {
  const box = svg.getBoundingClientRect();
  const marks = svg.querySelectorAll("path, use, image, text").length;
  return {name: svg.id, x: box.x, y: box.y + scrollY, width: box.width, height: box.height, marks};
})
"""
CUT_TEXTS = """
[...document.querySelectorAll("svg.plot")].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < frame.left - 2 || box.right > frame.right + 2
      || box.top < frame.top - 2 || box.bottom > frame.bottom + 2;
  }).map(text => `${svg.id}: ${text.textContent}`);
})
"""
# Marks are drawn at points of a line, inside the frame of their axes.
CUT_MARKS = """
[...document.querySelectorAll("svg.plot g[clip-path] > use")].flatMap(mark => {
  const svg = mark.closest("svg");
  const clip = mark.parentElement.getAttribute("clip-path").slice("url(#".length, -1);
  const frame = document.getElementById(clip).querySelector("rect").getBBox();
  const box = mark.getBBox();
  const inside = box.x >= frame.x - 1 && box.x + box.width <= frame.x + frame.width + 1
    && box.y >= frame.y - 1 && box.y + box.height <= frame.y + frame.height + 1;
  return inside ? [] : [`${svg.id}: ${box.x}, ${box.y}`];
})
"""
# Labels that are turned fill less than their boxes, so those of the filters are left out.
TOUCHING_TEXTS = """
[...document.querySelectorAll("svg.plot:not([id^=filters])")].flatMap(svg => {
  const texts = [...svg.querySelectorAll("text")].map(
    text => [text.textContent, text.getBoundingClientRect()]);
  return texts.flatMap(([words, box], place) => texts.slice(place + 1).filter(([, other]) =>
    Math.min(box.right, other.right) - Math.max(box.left, other.left) > 1
    && Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top) > 3
  ).map(([others]) => `${svg.id}: ${words} / ${others}`));
})
"""


def colours(browser: Page, panel: dict[str, Any]) -> int:
    """Return how many colours a panel shows."""
    image = browser.screenshot(panel["x"], panel["y"], panel["width"], panel["height"])
    pixels = imread(io.BytesIO(image), format="png")[..., :3]
    return len(np.unique((pixels * 255).astype(np.uint8).reshape(-1, 3), axis=0))

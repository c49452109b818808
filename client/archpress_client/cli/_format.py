"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import datetime

from archpress_client._types import Interval, Latency


def count(number: int) -> str:
    """Return 1,234,567."""
    return f"{number:,}"


def percent(fraction: float, digits: int = 2) -> str:
    """Return 93.40%."""
    return f"{100 * fraction:.{digits}f}%"


def interval(value: Interval) -> str:
    """Return 92.90-93.88%."""
    return f"{100 * value.lower:.2f}-{percent(value.upper)}"


def size(size_bytes: float) -> str:
    """Return 204.8 KB (of 1000 bytes)."""
    for unit in ("B", "KB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.1f} {unit}" if unit != "B" else f"{size_bytes:.0f} B"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def latency(value: Latency) -> str:
    """Return the median and the range from the 10th to the 90th percentile, in milliseconds."""
    low, high = 1e3 * value.p10_seconds, 1e3 * value.p90_seconds
    return f"{1e3 * value.median_seconds:.2f} ms ({low:.2f}-{high:.2f})"


def change(before: float, after: float) -> str:
    """Return how many times smaller (or larger) `after` is."""
    if before <= 0 or after <= 0:
        return ""
    if before == after:
        return "same"
    return f"{before / after:.1f}x less" if after <= before else f"{after / before:.1f}x more"


def duration(seconds: float) -> str:
    """Return 1:02:03 or 2:03."""
    whole = max(round(seconds), 0)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(time: datetime | None) -> str:
    """Return the local date and time, to the second."""
    return "" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")

"""How figures are written, the same everywhere."""

from typing import Optional

UNDEFINED = "–"


def percent(share: Optional[float]) -> str:
    """A share of 1 in per cent, without the sign; a dash where there is none."""
    return UNDEFINED if share is None else f"{100 * share:.2f}"


def nats(value: Optional[float]) -> str:
    """A number of nats."""
    return UNDEFINED if value is None else f"{value:.4f}"


def count(number: Optional[float]) -> str:
    """A number of things."""
    return UNDEFINED if number is None else f"{number:,.0f}"


def interval(low: float, high: float) -> str:
    """An interval of shares, in per cent."""
    return f"[{100 * low:.2f}, {100 * high:.2f}]"


def deviation(share: float) -> str:
    """A standard deviation of shares, in per cent."""
    return f"± {100 * share:.2f}"


def megabytes(number: Optional[float]) -> str:
    """Bytes as megabytes."""
    return UNDEFINED if number is None else f"{number / 1e6:,.2f}"


def duration(seconds: Optional[float]) -> str:
    """Hours, minutes and seconds."""
    if seconds is None:
        return UNDEFINED
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"

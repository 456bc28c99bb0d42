"""Numbers in words, for people who know no log-odds. All functions are pure."""

from __future__ import annotations

import math

MINUS = "\N{MINUS SIGN}"
LARGE = ((1e15, "quadrillion"), (1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
NEAR_ONE, SMALL = 0.9999, 0.001
EVEN = 1.05
"""Odds between 1 / EVEN and EVEN are called even."""
MIDDLE = 0.1
INNER = 0.42
"""Places within this share of the way to the edge are told from the centre, others from the edges."""


def count(value: float) -> str:
    """A count of at least 1 as one would say it: `24 million`, `480,000`, `1,300`, `62`."""
    if value >= 1e18:
        return f"10^{math.floor(math.log10(value))}"
    rounded = _two_digits(value)
    for size, name in LARGE:
        if rounded >= size:
            return f"{_two_digits(value / size):g} {name}"
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def chance(log_probability: float) -> str:
    """A probability: `8.2 %`, `over 99.99 %`, `1 in 24 million`. Never `100 %`, and never `0`."""
    probability = math.exp(log_probability)
    if probability > NEAR_ONE:
        return "over 99.99 %"
    if probability >= SMALL:
        return percent(probability)
    return f"1 in {count(math.exp(min(-log_probability, 700)))}"


def percent(share: float) -> str:
    """A share in [0, 1]: `8.2 %`, `42 %`, `99.85 %`."""
    digits = 2 if share >= 0.99 else 0 if share >= 0.1 else 1 if share >= 0.01 or share == 0 else 2
    return f"{100 * share:.{digits}f} %"


def odds(log_odds: float) -> str:
    """Odds: `even`, `3 to 1`, `1 to 24 million`."""
    larger = math.exp(min(abs(log_odds), 700))
    if larger < EVEN:
        return "even"
    return f"{count(larger)} to 1" if log_odds > 0 else f"1 to {count(larger)}"


def number(value: float, digits: int = 2) -> str:
    """A number with a true minus: `0.05`, minus 3.1, `2e-05`, `unknown` if it is not finite."""
    if not math.isfinite(value):
        return "unknown"
    return f"{value:.{digits}g}".replace("-", MINUS, 1) if value < 0 else f"{value:.{digits}g}"


def with_error(value: float, half_width: float) -> str:
    """A value and the half-width of its interval, with as many digits as the latter bears: `+0.050 ± 0.014`."""
    if not math.isfinite(half_width):
        return f"{_signed(value, 2, 'g')}, error unknown"
    if half_width == 0:
        return f"{_signed(value, 2, 'g')} ± 0"
    size = math.floor(math.log10(half_width))
    if size < -5 or size > 5:
        return f"{_signed(value, 1, 'e')} ± {half_width:.0e}"
    return f"{_signed(value, max(0, 1 - size), 'f')} ± {half_width:.{max(0, 1 - size)}f}"


def counted(amount: int, noun: str) -> str:
    """An amount with its noun: `1 picture`, `1,024 pictures`, `2 queries`, `988 classes`."""
    if amount == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{amount:,} {noun[:-1]}ies"
    return f"{amount:,} {noun}{'es' if noun.endswith('s') else 's'}"


def duration(seconds: float) -> str:
    """A time: `0.7 s`, `42 s`, `3.5 min`, `2.1 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def place(x: float, y: float) -> str:
    """Where a point is in a picture: `at the top left`, `right of the centre`, `in the centre`.

    Args:
        x: from 0 at the left edge to 1 at the right.
        y: from 0 at the top to 1 at the bottom.
    """
    across, down = 2 * x - 1, 2 * y - 1
    reach = max(abs(across), abs(down))
    if reach < MIDDLE:
        return "in the centre"
    side = "" if abs(across) < INNER * reach else "left" if across < 0 else "right"
    if reach < INNER:
        height = "" if abs(down) < INNER * reach else "above" if down < 0 else "below"
        if not side:
            return f"{height} the centre"
        return f"{height} and {side} of the centre" if height else f"{side} of the centre"
    height = "" if abs(down) < INNER * reach else "top" if down < 0 else "bottom"
    return "at the " + " ".join(part for part in (height, side) if part)


def begun(sentence: str) -> str:
    """The sentence with a capital letter, the rest unchanged."""
    return sentence[:1].upper() + sentence[1:]


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


def _signed(value: float, digits: int, kind: str) -> str:
    return f"{value:+.{digits}{kind}}".replace("-", MINUS, 1) if value < 0 else f"{value:+.{digits}{kind}}"

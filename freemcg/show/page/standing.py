"""Which method is better: its rank under each measure, and paired tests against one method on the same pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from freemcg.show.page.words import number

LEVEL = 0.05


@dataclass(frozen=True)
class PairedTest:
    """A paired test of a method against another under one measure.

    Attributes:
        gain: by how much the method is better, the mean over pictures; negative if it is worse.
        low, high: the ends of its 95 % interval.
        p: the p-value, corrected for the number of tests.
    """

    gain: float
    low: float
    high: float
    p: float

    @property
    def verdict(self) -> str:
        """`better` or `worse` if the test tells the two apart, else `not told apart`."""
        if self.p >= LEVEL or self.gain == 0:
            return "not told apart"
        return "better" if self.gain > 0 else "worse"

    @property
    def words(self) -> str:
        """The gain with its interval, and the p-value: `+0.05 (0.01 to 0.09), p = 0.012`."""
        sign = "+" if self.gain > 0 else ""
        chance = "p < 0.001" if self.p < 0.001 else f"p = {number(self.p)}"
        return f"{sign}{number(self.gain)} ({number(self.low)} to {number(self.high)}), {chance}"


@dataclass(frozen=True)
class Ranked:
    """A row.

    Attributes:
        title: the name of the method, as people write it.
        mean: the mean of its ranks; `None` if it has none.
        ranks: under each measure, 1 is best; `None` where it has no figure.
        tests: under each measure; `None` for the method that the others are tested against, or without figures.
    """

    title: str
    mean: float | None
    ranks: Sequence[float | None]
    tests: Sequence[PairedTest | None]


@dataclass(frozen=True)
class Standing:
    """The table.

    Attributes:
        rows: best mean rank first.
        against: the name of the method that the others are tested against; empty without tests.
        count: the number of tests that the p-values are corrected for.
    """

    rows: Sequence[Ranked]
    against: str
    count: int

    def reach(self, column: int) -> float:
        """The largest gain or end of an interval under a measure, the half-width of its scale; at least 1e-9."""
        tests = [row.tests[column] for row in self.rows]
        ends = [abs(end) for test in tests if test is not None for end in (test.gain, test.low, test.high)]
        return max([1e-9, *(end for end in ends if math.isfinite(end))])

    def place(self, value: float, column: int) -> float:
        """The place of a gain on the scale of a measure, in percent: 50 for none, above that for a better one."""
        return 50 + 49 * value / self.reach(column)

"""What a network learns in place of a y with a heavy tail: its logarithm, or nearly so. Undone exactly for the answer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from chainrule.data import NORMAL, Doubles
from chainrule.elementary import exponential, logarithm

BENDS = ("log", "asinh")
HEAVY = 6.0  # deviations from the median, as the quartiles have them, that a normal distribution does not reach
WIDE = 10.0  # times the least that the largest must be, for a logarithm
BEYOND = 0.5  # of the span of the labels: no answer is further from them


@dataclass(frozen=True)
class Bend:
    """One column of labels l, bent: t = (f((l − center) / width) − mean) / deviation, f a logarithm or asinh; or as it is."""

    kind: str = ""
    center: float = 0.0
    width: float = 1.0
    mean: float = 0.0
    deviation: float = 1.0
    low: float = -700.0  # of t
    high: float = 700.0

    @classmethod
    def learn(cls, l: Doubles, zero: float, kind: str | None = None, weight: Doubles | None = None) -> Self:
        """Return how a column is best bent; `zero` is where y is 0. Without a kind it is bent only where a tail is heavy."""
        l = l[~np.isnan(l) if weight is None or not weight.any() else ~np.isnan(l) & (weight > 0)]
        least, first, middle, third, most = np.quantile(l, [0, 0.25, 0.5, 0.75, 1])
        width = (third - first) / NORMAL or float(np.abs(l - middle).mean())
        if width <= 0 or (kind is None and max(most - middle, middle - least) < HEAVY * width):
            return cls()
        wide = least > zero and most - zero > WIDE * (least - zero)
        kind = kind or ("log" if wide else "asinh")
        bare = cls(kind, zero, 1.0) if kind == "log" else cls(kind, float(middle), float(width))
        t = bare.apply(l)
        mean, deviation = float(t.mean()), float(t.std()) or 1.0
        t = (t - mean) / deviation
        beyond = BEYOND * float(t.max() - t.min())
        return dataclasses.replace(
            bare, mean=mean, deviation=deviation, low=float(t.min()) - beyond, high=float(t.max()) + beyond
        )

    def apply(self, l: Doubles) -> Doubles:
        """Return labels, bent."""
        if not self.kind:
            return l
        u = (l - self.center) / self.width
        if self.kind == "log":  # of what is not above 0, a label that came later, as of the least that may be answered
            f = logarithm(np.maximum(u, exponential(self.low * self.deviation + self.mean)))
        else:
            size = np.abs(u)
            f = np.sign(u) * logarithm(size + np.sqrt(size * size + 1))
        return np.asarray((f - self.mean) / self.deviation)

    def undo(self, t: Doubles) -> Doubles:
        """Return what `apply` bent."""
        if not self.kind:
            return t
        u = np.clip(t, self.low, self.high) * self.deviation + self.mean
        l = exponential(u) if self.kind == "log" else (exponential(u) - exponential(-u)) / 2
        return l * self.width + self.center


@dataclass(frozen=True)
class Bends:
    """All columns of the labels."""

    columns: tuple[Bend, ...]

    @classmethod
    def learn(
        cls, labels: Doubles, zeros: Doubles, kind: str | None = None, weight: Doubles | None = None
    ) -> Self | None:
        """Return how the labels (n, k) are best bent; None where they need not be. Rows of weight 0 say nothing."""
        found = cls(tuple(Bend.learn(l, float(zero), kind, weight) for l, zero in zip(labels.T, zeros, strict=True)))
        return found if any(column.kind for column in found.columns) else None

    def apply(self, labels: Doubles) -> Doubles:
        """Return labels (n, k), bent."""
        return np.stack([column.apply(l) for column, l in zip(self.columns, labels.T, strict=True)], axis=1)

    def undo(self, answers: Doubles) -> Doubles:
        """Return answers (n, k) as labels."""
        return np.stack([column.undo(t) for column, t in zip(self.columns, answers.T, strict=True)], axis=1)

    def __str__(self) -> str:
        return " and ".join(sorted({column.kind for column in self.columns} - {""}))

    def to_json(self) -> list[dict[str, Any]]:
        """Return what JSON can hold of it: everything."""
        return [dataclasses.asdict(column) for column in self.columns]

    @classmethod
    def from_json(cls, described: list[dict[str, Any]]) -> Self:
        """Return what `to_json` described; ValueError where it did not."""
        columns = tuple(Bend(**column) for column in described)
        for column in columns:
            numbers = [column.center, column.width, column.mean, column.deviation]
            if (
                column.kind not in ("", *BENDS)
                or not np.isfinite(numbers).all()
                or min(column.width, column.deviation) <= 0
            ):
                raise ValueError("the targets are not bent as any was learned")
        return cls(columns)

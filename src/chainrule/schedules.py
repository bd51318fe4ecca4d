"""The learning rate of each step: constant, or a curve over epochs or steps. Numbers are those of docs/derivation.md.

The engines are given the rates ready-made. All but that of invscaling, a power by the C library, are equal bits on every
machine: they are made of + − × ÷ alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chainrule.elementary import cosine
from chainrule.optimizers import SECOND_ORDER

Array = npt.NDArray[np.float64]

SCHEDULES = ("constant", "step", "cosine", "onecycle", "invscaling", "adaptive")
RISING, START, END = 0.3, 25.0, 25e4  # of the one-cycle: share of the steps up; α is divided by these at its two ends


@dataclass
class Schedule:
    """The rates of one call of `train`: `steps` an epoch, `epochs` of them, of `rows` rows."""

    name: str
    rate: float  # α; an adaptive schedule lowers it as it goes
    epochs: int
    steps: int
    rows: int
    power_t: float = 0.5
    drop_factor: float = 0.1
    drop_period: int = 10

    def rates(self, first: int, count: int, before: int) -> Array:
        """One rate for each step of `count` epochs from `first` of this call, or one for all; `before`: of earlier calls."""
        if self.name in ("constant", "adaptive"):
            return np.array([self.rate])
        if self.name in ("cosine", "onecycle"):
            t = np.arange(first * self.steps, (first + count) * self.steps, dtype=np.float64)
            return self._cosine(t) if self.name == "cosine" else self._onecycle(t)
        each = [self._of_epoch(before + epoch) for epoch in range(first, first + count)]
        return np.array(each) if count == 1 else np.repeat(each, self.steps)

    def _of_epoch(self, e: int) -> float:
        if self.name == "step":
            return self.rate * _whole_power(self.drop_factor, e // self.drop_period)  # (69)
        return self.rate / _power(1 + e * self.rows, self.power_t)  # (72)

    def _cosine(self, t: Array) -> Array:
        return np.asarray(0.5 * self.rate * (1 + cosine(t / (self.epochs * self.steps))))  # (70)

    def _onecycle(self, t: Array) -> Array:
        last = self.epochs * self.steps - 1
        top = RISING * (last + 1) - 1  # the step of the highest rate
        low, end = self.rate / START, self.rate / END
        up = low + (self.rate - low) * 0.5 * (1 - cosine(np.clip(t / top, 0, 1) if top > 0 else t * 0))
        down = end + (self.rate - end) * 0.5 * (1 + cosine(np.clip((t - top) / (last - top), 0, 1)))
        return np.where(t <= top, up, down)  # (71)


def check_schedule(argument: str, schedule: str, solver: str) -> None:
    """Refuse a schedule for a solver that has no learning rate; the argument is what the caller names it by."""
    if solver in (*SECOND_ORDER, "rprop") and schedule != "constant":
        raise ValueError(
            f"{argument}={schedule!r} has nothing to change: solver={solver!r} finds the lengths of its steps itself; "
            f"use {argument}='constant', or another solver, as 'adam'"
        )


def _power(base: float, exponent: float) -> float:
    return math.sqrt(base) if exponent == 0.5 else base**exponent  # the root is the same on every machine


def _whole_power(base: float, exponent: int) -> float:
    """Base to a whole number by squaring: only products, the same on every machine."""
    power = 1.0
    while exponent:
        power, base, exponent = power * base if exponent % 2 else power, base * base, exponent // 2
    return power

"""Time: when training is to end, and how long each network is trained to be ready by then."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import numpy as np

from chainrule.auto.recipes import Recipe
from chainrule.problem import SMALL

MAY_TAKE, TO_CHOOSE = 0.8, 0.25  # of what is left: that first networks may take, and trials of distortions or columns


class Pace(NamedTuple):
    """How many epochs a network is trained for, and on one in how many of the rows."""

    epochs: int
    one_in: int = 1

    @classmethod
    def within(cls, affordable: float, epochs: int, most: int) -> Self:
        """Return a pace of so many epochs or, where fewer are affordable, of those, and at last on one row in some."""
        if affordable >= epochs:
            return cls(epochs)
        fewer = max(int(affordable), 1)
        return cls(fewer, int(np.clip(math.ceil(fewer / affordable), 1, most)))

    def of(self, epochs: int, one_in: int = 1) -> str:
        """Return what is to be said of it where so many epochs were wanted, and of the rows there are one in so many."""
        said = [f"{self.epochs} of {epochs} epochs"] if self.epochs < epochs else []
        said += [f"one row in {self.one_in * one_in}"] if self.one_in * one_in > 1 else []
        return f" ({', '.join(said)})" if said else ""


@dataclass
class Clock:
    """When training is to end, what it took so far, and the paces of the recipes where time is limited."""

    deadline: float = np.inf
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.began = time.perf_counter()
        self.paces: dict[Recipe, Pace] = {}  # of a second try it is that of the first
        self.took: dict[Recipe, float] = {}  # seconds of one thread, a recipe's last network
        self.one_in = 1  # of the rows is learned from
        self.hurried = False  # something was left out, or cut short, for want of time

    @property
    def limited(self) -> bool:
        """Whether there is a time at which training is to end."""
        return math.isfinite(self.deadline)

    def left(self) -> float:
        """Return how many seconds are left."""
        return max(self.deadline - time.perf_counter(), SMALL)

    def late(self) -> bool:
        """Whether training is to end: time is up, or Ctrl-C was pressed."""
        return self.stopped.is_set() or time.perf_counter() > self.deadline

    def too_long(self, recipe: Recipe, threads: int) -> bool:
        """Whether another network of a recipe would not be ready in time."""
        return time.perf_counter() + self.took.get(recipe, 0.0) / threads > self.deadline

    def share(self, part: float, seconds: dict[Recipe, float], n_threads: int, most: int) -> None:
        """Let recipes, whose whole trainings take so many seconds, have a part of the time that is left, on n threads.

        A training that is cut short, its rate still high, leaves a network far from what a shorter one would have made of it.
        All are shortened alike: they are going to be compared. One row in `most` are the fewest.
        """
        left = self.left()
        longest = max(max(seconds.values(), default=0.0), sum(seconds.values()) / n_threads)
        for recipe in seconds:
            affordable = max(recipe.epochs * part * left / longest, SMALL)
            self.paces[recipe] = Pace.within(affordable, recipe.epochs, most)

    def pace(self, recipe: Recipe) -> Pace:
        """Return for how many epochs a network is trained, and on one in how many of the rows."""
        return self.paces.get(at_any_rate(recipe), Pace(recipe.epochs))

    def said(self, recipe: Recipe) -> str:
        """Return what is to be said of a recipe that was hurried."""
        return self.pace(recipe).of(recipe.epochs, self.one_in)


def at_any_rate(recipe: Recipe) -> Recipe:
    """Return what two recipes have in common that differ in the learning rate alone."""
    return replace(recipe, learning_rate=0.0)

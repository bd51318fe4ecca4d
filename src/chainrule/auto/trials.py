"""Recipes on trial: what their networks answer for rows that they have not seen, and what share of the answer they get."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import NamedTuple

import numpy as np

from chainrule.auto.recipes import Recipe
from chainrule.data import Array, Doubles, Floats, Indices
from chainrule.diagnosis import GAIN
from chainrule.elementary import exponential
from chainrule.ensemble import Pool
from chainrule.generator import permutation
from chainrule.inputs import PLAIN, Form
from chainrule.network import Network
from chainrule.training import History

FOLDS = 1 << 41  # the random stream of folds: far from those of epochs and of splitting
ROUNDS = 20  # of choosing shares: each is a multiple of 1 / 20
# A recipe whose loss for the m rows of the first fold is above the least by over 0.1 + 2/√m of that is not tried on others.
BEHIND, NOISE = 0.1, 2.0


@dataclass(frozen=True, eq=False)
class Fold:
    """Rows to learn from, and rows set aside, or a validation set of the user's own."""

    kept: Indices
    aside: Indices
    own: Callable[[Recipe], Array] | None = None


class Check(NamedTuple):
    """A network at some time in its training: the epoch, its parameters, and its answers for rows it was not given."""

    epoch: int
    parameters: Floats
    answers: Floats


class Made(NamedTuple):
    """A trained network, and how it was on the way."""

    network: Network
    history: History
    checks: list[Check]
    whole: bool = True  # not cut short
    form: Form = PLAIN  # in which it is given a table


def mixed(rows: int, seed: int, classes: Array | None = None) -> Indices:
    """Return the rows in an order of chance, those of a class together: one in so many is then of each class alike."""
    order = permutation(seed, FOLDS, rows)
    return order if classes is None else order[np.argsort(classes[order], kind="stable")]


def make_folds(first: Indices, count: int, seed: int, classes: Array | None = None) -> list[Fold]:
    """Return folds, `count` or as many as rows differ, whose parts set aside are all rows; of each class alike.

    `first` is of each row the first that is equal to it: what is set aside is not to be among what is learned from.
    """
    rows = len(first)
    if (first == first[0]).all():
        first = np.arange(rows)
    order = mixed(rows, seed, classes)
    order = order[first[order] == order]
    count = min(count, len(order))
    number = np.empty(rows, dtype=np.intp)
    number[order] = np.arange(len(order)) % count
    number = number[first]
    return [Fold(np.flatnonzero(number != k), np.flatnonzero(number == k)) for k in range(count)]


Judge = Callable[[list[Fold], Sequence[Floats]], float]  # the mean loss of answers for the rows of some folds


@dataclass
class Trial:
    """A recipe, the networks it has made, and what these answer for rows that they have not seen."""

    recipe: Recipe
    folds: list[Fold] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    answers: list[Doubles] = field(default_factory=list)
    loss: float = np.inf
    losses: list[float] = field(default_factory=list)  # at each look
    share: float = 0.0
    of_all: bool = False  # its networks were trained once more, on all rows

    @property
    def networks(self) -> list[Network]:
        """Its networks, one a fold."""
        return [made.network for made in self.made]

    @property
    def evidence(self) -> float | None:
        """The log of the evidence for the first fold's rows, of a bayesian recipe."""
        heard = self.made[0].history.evidence if self.made else None
        return None if heard is None else heard.log

    def sort(self, folds: list[Fold]) -> None:
        """Put its networks in the order of the folds, in whatever order they came to be."""
        made = dict(zip(self.folds, self.made, strict=True))
        self.folds = [fold for fold in folds if fold in made]
        self.made = [made[fold] for fold in self.folds]

    def answers_for(self, folds: list[Fold]) -> list[Doubles]:
        """Return its answers for the rows of some of its folds alone; nothing where it has no others."""
        known = dict(zip(self.folds, self.answers, strict=True))
        return [known[fold] for fold in folds] if set(folds) < set(known) else []

    def drop_unfinished(self) -> None:
        """Let go of networks that were cut short, if others are whole, else of those much shorter than the longest.

        All are judged at one time, which would be that of the shortest.
        """
        longest = max(len(made.checks) for made in self.made)
        whole = any(made.whole for made in self.made)
        good = [made.whole if whole else 2 * len(made.checks) > longest for made in self.made]
        self.folds, self.made = list(compress(self.folds, good)), list(compress(self.made, good))

    def judge(self, loss_of: Judge) -> int:
        """Find the time at which all its networks together answered best.

        One time for all: the best of each for its own few rows would be chosen by their noise, and seem better than it is.
        """
        checks = range(min(len(made.checks) for made in self.made))
        self.losses = [loss_of(self.folds, [made.checks[c].answers for made in self.made]) for c in checks]
        best = int(np.argmin([loss if np.isfinite(loss) else np.inf for loss in self.losses]))
        self.loss = self.losses[best]
        return best

    def settle(self, loss_of: Judge) -> None:
        """Let all its networks be as they were at that time."""
        best = self.judge(loss_of)
        for network, history, at, _, _ in self.made:
            self.answers.append(at[best].answers.astype(np.float64))
            network.parameters = at[best].parameters
            history.best_epoch, history.validation = at[best].epoch, self.losses
            at.clear()


class Choice(NamedTuple):
    """What all together answer for the rows set aside of some folds, how their answers become one, and the mean loss."""

    loss: float
    pool: Pool
    folds: list[Fold]
    answers: list[Doubles]


def choose_shares(trials: list[Trial], loss_of: Judge, pool: Pool) -> Choice:
    """Give each trial its share: one more part, again and again, to the one that lowers the loss most (Caruana 2004).

    The pool of probabilities has the root of the temperature at which the loss is least.
    """
    finite = [k for k, trial in enumerate(trials) if np.isfinite(trial.loss)]
    most = max(len(trials[k].folds) for k in finite)
    able: list[int] = []
    folds = next(trials[k].folds for k in finite if len(trials[k].folds) == most)
    for k in finite:  # all are judged by the same rows
        common = [fold for fold in folds if fold in trials[k].folds]
        if 2 * len(trials[k].folds) >= most and common and (len(trials[k].folds) > 1 or most == 1):
            able.append(k)
            folds = common
    answers = {
        k: [z for fold, z in zip(trials[k].folds, trials[k].answers, strict=True) if fold in folds] for k in able
    }
    counts = dict.fromkeys(able, 0)
    total = [np.zeros_like(z) for z in answers[able[0]]]
    lowest, best = np.inf, dict(counts)
    for n in range(1, ROUNDS + 1):
        losses = [loss_of(folds, [(t + z) / n for t, z in zip(total, answers[k], strict=True)]) for k in able]
        chosen = able[int(np.argmin(losses))]
        counts[chosen] += 1
        total = [t + z for t, z in zip(total, answers[chosen], strict=True)]
        if n == 1 or min(losses) < lowest - GAIN * abs(lowest):
            lowest, best = min(losses), dict(counts)
    for k, count in best.items():
        trials[k].share = count / sum(best.values())
    mixed = [np.sum([trials[k].share * answers[k][f] for k in able], axis=0) for f in range(len(folds))]
    if not pool.output:
        return Choice(lowest, pool, folds, mixed)
    warmth = exponential(np.linspace(-1, 1, 81))
    losses = [loss_of(folds, [q / t for q in mixed]) for t in warmth]
    # A row is judged by the few networks that never saw it; all together are in less need of it.
    warm = Pool(pool.output, math.sqrt(float(warmth[int(np.argmin(losses))])))
    return Choice(lowest, warm, folds, mixed)


def less(loss: float, than: float, margin: float) -> bool:
    """Return whether a loss is less than another by more than a share of itself."""
    return than - loss > margin * abs(loss)


def behind(rows: int) -> float:
    """Return the share of a loss by which another is clearly larger, judged by so many rows."""
    return BEHIND + NOISE / math.sqrt(max(rows, 1))

"""Which columns of a table say most: what a network's answers lose when a column is shuffled (Breiman 2001), or those that
least squares takes first.

They are asked of rows that the network has learned from. Of columns that say nothing it has learned by heart what it could,
evenly of all of them: that is little beside what it has of a column that says something.
"""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import numpy as np

from chainrule.auto.recipes import Recipe
from chainrule.auto.task import Task
from chainrule.auto.trials import Fold
from chainrule.data import Array, Doubles, Floats
from chainrule.elementary import logarithm, total
from chainrule.generator import permutation
from chainrule.inputs import PLAIN, Inputs
from chainrule.network import Network
from chainrule.problem import SMALL, Problem, mean_known

MANY = 16  # columns, from which on it is asked whether few of them do as well
LEAST = 0.01  # of what the column that says most is worth: what one that is kept is worth at the least;
ABOVE = 3.0  # or so many times the middle of all, where most say nothing
FEWER = 0.75  # of the columns: what is worth being tried in place of all
LEAST_ASKED, ASKED, ASKING = 100, 1000, 3e10  # rows, and multiply-adds
ANSWERED = 8192  # rows at once
SHUFFLED = 1 << 42  # the random stream
EACH = 5  # rows for each that least squares may take


class Relevance:
    """How much each column says in each fold, to a network that a short training made: the scout's."""

    def __init__(self) -> None:
        self.scout = Recipe("", (), "identity")
        self.rises: dict[Fold, Doubles] = {}  # of each column, by how much the scout's loss rises without it
        self.counts: dict[Fold, list[int]] = {}  # how many of them might do;
        self.straight: dict[Fold, int] = {}  # one of these: what a linear model takes, if no bar says the same
        self.looking = threading.Lock()

    def has(self, fold: Fold) -> bool:
        """Whether a fold has been looked at."""
        return fold in self.rises

    def look(self, task: Task, fold: Fold, network: Network | None, n_threads: int) -> None:
        """Note how much each column says to a network that was trained on a fold; if there is none, that all say as much."""
        assert task.inputs is not None
        some = fold.kept[:: -(-len(fold.kept) // ASKED)]
        labels, weight = task.labels_of(self.scout)[some], None if task.weight is None else task.weight[some]
        rises = np.ones(len(task.inputs.used))
        if network is not None:
            groups = task.inputs.groups(self.scout.form)
            rises = rises_of(
                network, task.rows(self.scout, some), groups, labels, task.problem, task.seed, n_threads, weight
            )
        plain = task.encode(task.table[some], replace(self.scout, form=PLAIN))
        taken = taken_one_by_one(plain, task.inputs.groups(PLAIN), labels, weight)
        self.counts[fold], self.straight[fold] = how_few(rises, len(taken))
        sooner = 2 - np.arange(len(taken)) / max(len(taken), 1)
        rises[taken] += (np.ptp(rises) or 1.0) * sooner  # these say most, the first of them more
        self.rises[fold] = rises

    def largest(self, fold: Fold, count: int) -> tuple[int, ...]:
        """Return the places of the columns that say most in a fold, ascending."""
        return tuple(sorted(np.argsort(-self.rises[fold], kind="stable")[:count].tolist()))

    def given(self, recipe: Recipe, fold: Fold) -> Recipe:
        """Return a recipe of few columns with those that say most in a fold."""
        return replace(recipe, form=replace(recipe.form, columns=self.largest(fold, recipe.few)))

    def named(self, inputs: Inputs, count: int) -> list[str]:
        """Return the names of so many columns that say most, on average of all folds, the first most."""
        order = np.argsort(-np.mean([*self.rises.values()], axis=0), kind="stable")
        return [inputs.columns[inputs.used[k]].name for k in order[:count]]


def rises_of(
    network: Network,
    rows: Array,
    groups: list[int],
    labels: Floats,
    problem: Problem,
    seed: int,
    n_threads: int = 1,
    weight: Doubles | None = None,
) -> Doubles:
    """Return for each column, that of a group of inputs, by how much the mean loss rises when it is shuffled; (columns,)."""
    of, W = np.asarray(groups), network.layers[0].weights
    rest, count = beyond_first(network), int(of.max()) + 1
    afford = int(np.clip(ASKING / (count * len(rest.parameters)), LEAST_ASKED, ASKED))
    some = slice(None, None, -(-len(rows) // afford))
    rows, labels, weight = rows[some], labels[some], None if weight is None else weight[some]
    P, order = sums_of_first(network, rows, n_threads), permutation(seed, SHUFFLED, len(rows))

    def shuffled(column: int) -> Array:
        inputs = np.flatnonzero(of == column)
        units = np.flatnonzero(W[:, inputs].any(axis=1))  # of an embedding those of the column alone
        part = np.zeros((len(P), len(units)), dtype=P.dtype)
        for i in inputs:  # one after the other: a product of matrices has other bits on other machines
            part += rows[:, i, None] * W[units, i]
        moved = P.copy()
        moved[:, units] += part[order] - part
        return moved

    def losses(parts: list[Array]) -> list[float]:
        answers = problem.pool.ask(rest, np.concatenate(parts), n_threads)
        return [problem.mean_loss(z, labels, weight) for z in np.split(answers, len(parts))]

    at_once = max(1, ANSWERED // len(P))
    rises = [
        loss
        for first in range(0, count, at_once)
        for loss in losses([shuffled(column) for column in range(first, min(first + at_once, count))])
    ]
    return np.array(rises) - losses([P])[0]


def taken_one_by_one(
    rows: Array, groups: list[int], labels: Floats, weight: Doubles | None, n_threads: int = 1
) -> list[int]:
    """Return the columns that least squares takes one after the other, each the best beside those before it.

    That is orthogonal matching pursuit (Pati et al. 1993), which finds what lies hidden behind larger effects, of few rows of
    very many columns. It goes on while an input lowers the squares by more than the best of so many would by chance (Foster
    and George 1994).
    """
    some = slice(None, None, -(-len(rows) // ASKED))
    w = (np.ones(len(labels)) if weight is None else np.sqrt(weight))[some, None]
    if not w.any():
        return []
    l = labels[some].astype(np.float64)
    R = w * np.nan_to_num(l - mean_known(l, w * w))  # what is left to be explained
    X = rows[some].astype(np.float64) * w
    Q = [w[:, 0] / math.sqrt(float(total(w[:, 0] ** 2)))]  # orthonormal; the first takes the means off
    n, k = R.shape
    A, left = np.ascontiguousarray(X.T), total(X * X)
    bar = 2 * (float(logarithm(X.shape[1])) + k)  # of n k ln(Σ R² before / after)
    taken: list[int] = []
    products = Network([n, k + 1], output="identity", dtype="float64")
    while True:
        products.layers[0].weights[:] = np.vstack([R.T, Q[-1]])
        found = products.predict(A, n_threads=n_threads).astype(np.float64, copy=False)
        left = left - found[:, -1] ** 2  # of each input's squares, what those taken do not explain
        gains = total(found[:, :-1].T ** 2) / np.maximum(left, SMALL * total(X * X) + SMALL)
        gains[[*taken]] = 0
        best, squares = int(gains.argmax()), float(total(total(R * R)))
        rest = 1 - float(gains[best]) / max(squares, SMALL)
        if len(taken) >= n // EACH or not n * k * -float(logarithm(max(rest, SMALL))) > bar:
            return list(dict.fromkeys(groups[i] for i in taken))
        q = X[:, best]
        for _ in range(2):  # once more, for what the first leaves by rounding
            for other in Q:
                q = q - other * float(total(other * q))
        q = q / math.sqrt(float(total(q * q)))
        R = R - q[:, None] * total(q[:, None] * R)
        taken.append(best)
        Q.append(q)


def sums_of_first(network: Network, rows: Array, n_threads: int) -> Array:
    """Return the sums P of the first layer for some rows, before its activation."""
    layer = network.layers[0]
    first = Network(network.sizes[:2], output="identity", dtype=network.dtype, engine=network.engine)
    first.parameters = network.parameters[: layer.weights.size + layer.bias.size]
    return first.predict(rows, n_threads=n_threads)


def beyond_first(network: Network) -> Network:
    """Return the network that the sums P of the first layer enter."""
    first, units = network.layers[0], network.sizes[1]
    sizes, activations, held = network.sizes[1:], network.activations[1:], first.weights.size + first.bias.size
    parameters = network.parameters[held:]
    if first.activation != "identity" or len(network.layers) == 1:
        sizes, activations = (units, *sizes), (first.activation, *activations)
        parameters = np.concatenate([np.eye(units, dtype=network.dtype).ravel(), np.zeros(units), parameters])
    rest = Network(sizes, activations[:-1], activations[-1], dtype=network.dtype, engine=network.engine)
    rest.parameters = parameters
    return rest


def how_few(rises: Doubles, taken: int) -> tuple[list[int], int]:
    """Return how many columns might do as well as all: those above a bar, for each of two bars, or those taken one by one.

    And which of these numbers is of the latter alone, 0 if none.
    """
    bars = (LEAST * rises.max(), max(ABOVE * float(np.median(rises)), 0.0))
    counts = {int((rises >= bar).sum()) for bar in bars}
    few = sorted(count for count in counts | {taken} if 0 < count <= FEWER * len(rises))
    return few, taken if taken in few and taken not in counts else 0

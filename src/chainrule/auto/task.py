"""The task: the rows to learn from, what is to be learned of them, and what the user has settled of how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chainrule.auto.recipes import FEWER, ONE_IN, PARTS, Examples, Recipe
from chainrule.auto.trials import Fold, make_folds, mixed
from chainrule.data import Array, DataError, Doubles, Floats, Indices, alone
from chainrule.generator import fingerprints
from chainrule.inputs import Form, Inputs
from chainrule.network import Network
from chainrule.problem import Problem
from chainrule.targets import Bends
from chainrule.training import Callback, History

LARGE = 20_000  # rows, from which on fewer parts of them do
COPIES = 0.5  # of the rows


@dataclass
class Task:
    """A table, its labels, and all that a recipe has to know to train a network on some of its rows."""

    problem: Problem
    inputs: Inputs | None  # of the columns; None where rows enter as they are
    table: Array
    labels: Floats
    weight: Doubles | None = None
    seed: int = 0
    fixed: dict[str, Any] = field(default_factory=dict)  # what the user has settled of each recipe
    images: tuple[int, ...] | None = None  # their shape, where rows are images
    bends: Bends | None = None
    monotone: list[int] | None = None  # of each column, or of each input where there are no columns
    validation: Examples | None = None  # the user's own, by which all is judged in place of rows set aside

    def __post_init__(self) -> None:
        self.encoded: dict[tuple[Form, bool], Array] = {}
        self.bent = None if self.bends is None else self.bends.apply(self.labels.astype(np.float64))

    def part(self, some: Indices) -> Task:
        """Return the same of some of the rows."""
        weight = None if self.weight is None else self.weight[some]
        return replace(self, table=self.table[some], labels=self.labels[some], weight=weight)

    # ---- what a network is given ----

    @property
    def width(self) -> int:
        """How many inputs a network has that is given numbers as they are."""
        return self.table.shape[1] if self.inputs is None else self.inputs.width()

    def width_of(self, recipe: Recipe) -> int:
        """Return how many inputs a recipe's networks have."""
        return self.width if self.inputs is None else self.inputs.width(recipe.form)

    def encode(self, table: Array, recipe: Recipe) -> Array:
        """Return what a recipe's networks are given of a table."""
        if self.inputs is None:
            return table
        return self.inputs.encode(table, recipe.form, "float64" if recipe.bayesian else self.problem.dtype)

    def rows(self, recipe: Recipe, some: Any) -> Array:
        """Return some encoded rows: of all columns they are made once for each form, of few when they are asked for."""
        if recipe.form.columns:
            return self.encode(self.table[some], recipe)
        kind = (recipe.form, recipe.bayesian)
        if kind not in self.encoded:
            self.encoded[kind] = self.encode(self.table, recipe)
        rows: Array = self.encoded[kind][some]
        return rows

    def labels_of(self, recipe: Recipe) -> Floats:
        """Return the labels as a recipe learns them: bent, or as they are."""
        return self.bent if recipe.bend and self.bent is not None else self.labels

    def as_taught(self, answers: Doubles, recipe: Recipe) -> Doubles:
        """Return answers as a network of a recipe gives them: bent where it is."""
        return answers if self.bends is None or not recipe.bend else self.bends.apply(answers)

    def seed_of(self, number: int) -> int:
        """Return the seed of a recipe's network."""
        return (self.seed + 1_000_003 * number) % 2**63

    def begin(self, recipe: Recipe, kept: Indices, number: int) -> Network:
        """Return a network as a recipe begins with it."""
        columns = 1 if self.inputs is None else len(self.inputs.given(recipe.form))
        network = recipe.network(self.problem, self.width_of(recipe), columns, self.seed_of(number))
        if not recipe.bayesian:
            self.problem.begin(network, self.labels_of(recipe)[kept])
        return network

    def train(
        self, network: Network, recipe: Recipe, kept: Indices, number: int, look: Callback, n_threads: int
    ) -> History:
        """Train a network as a recipe says, on some of the rows."""
        weight = None if self.weight is None else self.weight[kept]
        signs = self.monotone
        if signs is not None and self.inputs is not None:
            signs = self.inputs.signs(signs, recipe.form)
        return recipe.train(
            self.problem,
            network,
            self.rows(recipe, kept),
            self.labels_of(recipe)[kept],
            weight if weight is not None and weight.any() else None,
            self.seed_of(number),
            None if self.inputs is None else self.inputs.groups(recipe.form),
            signs,
            look,
            n_threads,
        )

    # ---- what its answers are judged by ----

    def folds(self, parts: int | None, classes: Array | None) -> list[Fold]:
        """Return the rows to learn from and those to judge by, once for each network of a recipe."""
        n = len(self.table)
        if n < 2 and self.validation is None:
            raise DataError(f"X has n_samples={n}, too few to set any aside: name a solver, as solver='lbfgs'")
        by_rows = max(2, min(n, PARTS if n < LARGE else FEWER))
        count = min(max(parts or 0, ONE_IN) if self.images is not None else parts or by_rows, n)
        if self.validation is None:
            return make_folds(originals(self.table, self.labels, classes), count, self.seed, classes)
        given = self.validation[0]

        def own(recipe: Recipe) -> Array:
            return self.encode(given, recipe)

        order = mixed(n, self.seed)  # some of them, one in so many, are then of all kinds
        return [Fold(order, np.arange(0), own) for _ in range(count)]

    @property
    def whole(self) -> Fold:
        """All rows to learn from, where there is nothing to be judged by: one of them is answered, and not looked at."""
        rows = np.arange(len(self.table))
        return Fold(rows, rows[:1])

    def judged_by(self, fold: Fold) -> int:
        """Return by how many rows a network of a fold is judged."""
        return len(fold.aside) if self.validation is None else len(self.validation[0])

    def loss_of(self, folds: list[Fold], answers: Sequence[Floats], column: int | None = None) -> float:
        """Return the mean loss of answers for the rows set aside of some folds, or for the validation set.

        All labels count, or one column of them.
        """
        if self.validation is not None:
            labels = alone(self.validation[1], column)
            return float(np.mean([self.problem.mean_loss(z.astype(np.float64), labels, None) for z in answers]))
        rows = np.concatenate([fold.aside for fold in folds])
        weight = None if self.weight is None else self.weight[rows]
        own = np.concatenate(answers).astype(np.float64)
        return self.problem.mean_loss(own, alone(self.labels[rows], column), weight)

    def constants(self, folds: list[Fold]) -> list[Doubles]:
        """Return answers that do not look at the inputs."""
        answers = []
        for fold in folds:
            weight = None if self.weight is None else self.weight[fold.kept]
            z = self.problem.constant(self.labels[fold.kept], weight)
            answers.append(np.repeat(z, self.judged_by(fold), axis=0))
        return answers


def originals(table: Array, labels: Floats, classes: Array | None) -> Indices:
    """Return of each row, labels included, the first that is equal to it, where rows are copies; else itself; (n,).

    They are where most, or most of a class, are there more than once. Fewer may well be there again in what is to come.
    """
    prints = fingerprints(labels) + np.uint64(3) * fingerprints(table)
    _, first, of, count = np.unique(prints, return_index=True, return_inverse=True, return_counts=True)
    kind = np.zeros(len(of), dtype=np.intp) if classes is None else np.unique(classes, return_inverse=True)[1]
    copied = np.bincount(kind, weights=count[of] > 1) > COPIES * np.bincount(kind)
    return np.asarray(np.where(copied[kind], first[of], np.arange(len(of))))

"""Ways to train a network on a table: which are tried by solver="auto", and how each is carried out.

The numbers were chosen on data that judge nothing (docs/design.md). What a fit costs depends on counts alone, not on a
clock: equal data give equal bits, on a slow machine as on a fast one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data import Floats
from chainrule.evidence import DEAF, spread_biases
from chainrule.functions import LOSSES, SMOOTHED
from chainrule.images import Augmentation
from chainrule.inputs import PLAIN, Form, Inputs
from chainrule.network import Network
from chainrule.problem import Problem
from chainrule.training import Callback, History, train

Rows = npt.NDArray[np.generic]
Examples = tuple[Rows, Floats]

BINS, WAVES = 32, 16  # of a number that is given as shares of bins, or as waves, too
EMBEDDED, BINNED = 600_000, 200_000  # weights that an embedding may have, those that stay 0 included; a layer of bins
ENCODED = 600_000_000  # numbers that a table may become
EMBEDDINGS = (  # the richest that stays below those
    *(Form(BINS, WAVES, units) for units in (8, 4)),
    *(Form(BINS // 2, WAVES // 2, units) for units in (4, 2)),
    *(Form(BINS // 4, WAVES // 4, units) for units in (2, 1)),
)
FINE = Form(2 * BINS, 2 * WAVES, 8, speed=20)  # for functions that go up and down often; is tried
FINE_ROWS, FINE_COLUMNS = 300, 3  # of so many rows, and so few columns
ITERATIONS, HURRIED = 200, 120  # of a bayesian training at the most; of one that is dear
CHECKS = 20  # at so many times in a training it is asked whether it had better end
TRIAL = 40  # of one that is to find the width
# Of few rows so many networks begin, of some more so many, or as many as multiply-adds allow; the epochs that show which is
# best; and every other one's deaf steps.
BEGIN_FEW, BEGIN, MORE_ROWS, BEGINNING = 6, 3, 500, 1.2e9
FIRST, DEAFER = 25, 10
WIDTHS = ((5,), (10,), (20,), (40,), (8, 8), (16, 16))  # of the bayesian networks
LEADING = ((20,), (8, 8))  # where one of these is best of the others,
WIDER = ((40,), (16, 16))  # these are tried, too
SOME, EACH = 2000, 5  # rows, and rows a parameter, of the first two thirds of a bayesian training
OF_CLASSES = 0.3  # of the epochs of a regression
KNOWN = 900  # rows, from which on they can show that classes hardly overlap
DETERMINED = 0.8  # parameters a label that a bayesian network may have
FEW_ROWS, OF_FEW = 150, 2.0  # of so many rows or fewer, so many parameters;
FEWEST_ROWS, OF_FEWEST = 12, 4.0  # and of so many
PARTS, FEWER = 8, 4  # into which rows are divided; where there are many rows, or a bayesian training is dear
COSTLY, DEAR = 3.3e10, 1.3e11  # multiply-adds of one that is given up sooner, and of one that is dear
COST, STRAIGHT = 7e11, 3e10  # multiply-adds of a bayesian training at the most, and of one of a linear model
PICTURES = 1.65e12  # weights times the images that they see in a training: 2,600,000 of digits, a minute
TRIED, TRIED_SEEN = 4000, 64_000  # images of a trial of distortions, and how many it sees
ONE_IN, PAIR = 10, 2  # part of the images that is set aside, and how many networks are trained

APART = ("learning_rate", "weight_decay", "label_smoothing")  # what sets recipes of one name apart


@dataclass(frozen=True)
class Recipe:
    """One way to train. Of a bayesian one nothing counts that is of batches, rates, penalties or dropout."""

    solver: str  # none: the answer is a constant
    hidden: tuple[int, ...]
    activation: str | tuple[str, ...]
    form: Form = PLAIN
    bend: str = ""  # of the targets
    batch_size: int = 32
    epochs: int = ITERATIONS
    learning_rate: float = 0.01
    schedule: str = "onecycle"
    weight_decay: float = 0.02
    beta2: float = 0.95
    dropout: float | tuple[float, ...] = 0.0
    label_smoothing: float = 0.0
    alpha: float = 0.0
    augment: Augmentation | None = None
    costly: bool = False  # goes on from the first part only where it is next to the best
    parts: int = 1 << 30  # of those the rows are divided into, for so many at the most a network is trained
    starts: int = 1  # of a bayesian one: so many begin, and that whose evidence is then the largest is trained
    deaf: int = DEAF  # steps of a bayesian one before it listens to the evidence
    few: int = 0  # columns that it is given alone, those that say most (relevance.py); 0: all

    @property
    def bayesian(self) -> bool:
        """Whether its penalties come from the evidence, and no rows need be set aside to end it."""
        return self.solver == "bayesian"

    def __str__(self) -> str:
        if not self.solver:
            return "a constant answer"
        units = "-".join(map(str, self.hidden)) or "no hidden units"
        each = (self.activation,) if isinstance(self.activation, str) else dict.fromkeys(self.activation)
        what = f"{'-'.join(each)} {units}" if self.hidden else "linear"
        given = [f"{self.form}"] if f"{self.form}" else [f"distorted images ({self.augment})"] if self.augment else []
        given += [f"{self.few} column{'s' * (self.few > 1)}"] if self.few else []
        on = f" on {' of '.join(given)}" if given else ""
        of = f" of {self.bend} y" if self.bend else ""
        return f"{what}{on}{of} by {self.solver}"

    def network(self, problem: Problem, inputs: int, columns: int, seed: int) -> Network:
        """Return a network as it begins, of so many inputs that come from so many columns."""
        hidden, activation = self.hidden, self.activation
        if self.form.embedding:
            each = (activation,) * len(hidden) if isinstance(activation, str) else activation
            hidden, activation = (self.form.embedding * columns, *hidden), ("identity", *each)
        network = Network(
            [inputs, *hidden, problem.labels * LOSSES[problem.loss].per_label],
            activation=activation,
            output=problem.output,
            seed=seed,
            dtype="float64" if self.bayesian else problem.dtype,
            engine=problem.engine,
        )
        if self.bayesian:
            spread_biases(network, seed)
        return network

    def train(
        self,
        problem: Problem,
        network: Network,
        rows: Rows,
        labels: Floats,
        weight: npt.NDArray[Any] | None,
        seed: int,
        groups: list[int] | None,
        monotone: list[int] | None,
        callback: Callback,
        n_threads: int = 1,
    ) -> History:
        """Train a network; the callback is called after each of CHECKS parts of the training."""
        if self.bayesian:
            # A step costs as much as there are rows: the first ones are taken with as many as the parameters ask for.
            some = slice(None, None, max(1, round(len(rows) / max(SOME, EACH * len(network.parameters)))))
            epochs = self.epochs
            if some.step > 1:
                few = epochs - epochs // 3
                history = train(
                    network, rows[some], labels[some], solver="bayesian", epochs=few,
                    sample_weight=None if weight is None else weight[some], groups=groups, deaf=self.deaf,
                    callback=callback, n_threads=n_threads,
                )  # fmt: skip
                if history.ending in ("interrupted", "stopped"):
                    return history
                epochs -= few
            return train(
                network, rows, labels, solver="bayesian", epochs=epochs, sample_weight=weight, groups=groups,
                deaf=self.deaf, callback=callback, n_threads=n_threads,
            )  # fmt: skip
        batch = min(self.batch_size, len(rows))
        return train(
            network,
            rows,
            labels,
            loss=problem.loss,
            solver=self.solver,
            batch_size=batch,
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            beta2=self.beta2,
            l2=self.alpha / batch / problem.mean_weight,
            label_smoothing=self.label_smoothing,
            weight_decay=self.weight_decay,
            dropout=self.dropout,
            augment=self.augment,
            monotone=monotone,
            embedding=groups if self.form.embedding else None,
            schedule=self.schedule,
            clip=problem.clip,
            max_norm=problem.max_norm,
            adversarial=problem.adversarial,
            sample_weight=weight,
            seed=seed,
            callback=callback,
            every=-(-self.epochs // CHECKS),
            n_threads=n_threads,
            **problem.constants,
        )


def names_apart(recipes: list[Recipe]) -> list[str]:
    """Return the recipes' names; those of one name say what sets them apart."""
    names = []
    for recipe in recipes:
        alike = [other for other in recipes if str(other) == str(recipe)]
        apart = [name for name in APART if len({getattr(other, name) for other in alike}) > 1][:1]
        names.append(f"{recipe}" + "".join(f" ({name.replace('_', ' ')} {getattr(recipe, name):g})" for name in apart))
    return names


def batches(rows: int) -> tuple[int, int]:
    """Return the rows of a batch and the number of epochs for so many rows."""
    batch = 32 if rows < 512 else 64 if rows <= 2048 else 128 if rows < 8192 else 256  # some 2 √rows
    seen = 600_000 if rows < 20_000 else 30 * rows if rows < 40_000 else 6000 * np.sqrt(rows)
    return batch, int(np.clip(seen / rows, 3, 300))


def by_batches(
    rows: int, inputs: Inputs | None, problem: Problem, fixed: dict[str, Any], columns: tuple[int, ...] = ()
) -> list[Recipe]:
    """The recipes of mini-batch training: of a table with its numbers as shares of bins and as waves, embedded.

    With `columns` they are of so many, in each fold of those that say most there, and forms are what these allow. Where
    answers may only rise, or the user has settled the layers, one recipe has numbers as they are, another has them as shares
    of bins, too; very many columns, and those of very large tables, are given as they are. Classes ask for less: a large
    network is soon too sure of what it has seen; but where they hardly overlap it may well be sure.
    """
    batch, epochs = batches(rows)
    units = 96 if rows < 512 else 128 if rows < 20_000 else 256
    hidden = (units,) * (2 if rows < 2500 else 3)
    rate = 0.01 if rows < 20_000 else 0.005
    activation = "tanh" if problem.monotone else "silu"  # which falls, too
    plain = Recipe("adamw", hidden, activation, batch_size=batch, epochs=epochs, learning_rate=rate)
    if problem.loss in SMOOTHED:
        fewer = math.ceil(OF_CLASSES * epochs)
        plain = replace(plain, epochs=fewer, weight_decay=1.0, label_smoothing=0.02)
    forms = [PLAIN]
    given = 0 if inputs is None else len(columns or inputs.used)
    if inputs is not None:
        of = {form: inputs.width(replace(form, columns=columns)) for form in (*EMBEDDINGS, Form(BINS))}
        width = {form: w for form, w in of.items() if rows * w <= ENCODED}
        if problem.monotone or {"hidden", "activation", "dropout"} & set(fixed):
            first = (fixed.get("hidden") or hidden)[0]
            forms += [form for form in width if not form.embedding and width[form] * first <= BINNED]
        else:
            forms = [next((form for form in width if 0 < width[form] * form.embedding * given <= EMBEDDED), PLAIN)]
    plain = replace(plain, few=len(columns))
    recipes = [replace(plain, form=form) for form in forms]
    main = recipes[-1]
    fine = inputs is not None and rows * inputs.width(replace(FINE, columns=columns)) <= ENCODED
    if fine and main.form.embedding and given <= FINE_COLUMNS and rows >= FINE_ROWS:
        recipes.append(replace(main, form=FINE))
    if problem.loss in SMOOTHED:
        recipes += [*([sure(main)] if rows >= KNOWN else []), gentle(plain, epochs)]
    return [replace(recipe, **fixed) for recipe in recipes]


def sure(recipe: Recipe) -> Recipe:
    """Labels as they are, a weak pull to 0: for classes that hardly overlap."""
    return replace(recipe, weight_decay=0.1, label_smoothing=0.0)


def gentle(recipe: Recipe, epochs: int) -> Recipe:
    """Few units that do not fall, small steps, a strong pull to 0: for much noise."""
    return replace(
        recipe, hidden=(32,), activation="tanh", form=PLAIN, epochs=epochs, learning_rate=recipe.learning_rate / 4,
        weight_decay=0.3, label_smoothing=0.0, dropout=0.0,
    )  # fmt: skip


def linear(rows: int, inputs: int, problem: Problem, fixed: dict[str, Any]) -> Recipe:
    """What every other recipe is to be better than."""
    if problem.squares and TRIAL * inputs**2 * rows <= STRAIGHT and not set(fixed) - OF_EVIDENCE:
        return Recipe("bayesian", (), "identity", epochs=min(TRIAL, fixed.get("epochs", TRIAL)))
    batch, epochs = batches(rows)
    settled = {name: value for name, value in fixed.items() if name not in ("hidden", "activation", "dropout")}
    return replace(Recipe("adamw", (), "identity", batch_size=batch, epochs=-(-epochs // 2)), **settled)


def others(recipes: list[Recipe], fixed: dict[str, Any]) -> list[Recipe]:
    """What is tried where the recipes learned nothing, unless it is among them."""
    first = next(recipe for recipe in recipes if not recipe.bayesian)
    other = replace(gentle(first, first.epochs), **fixed)
    return [] if any(replace(other, epochs=recipe.epochs) == recipe for recipe in recipes) else [other]


def by_images(rows: int, pixels: int) -> Recipe:
    """The recipe of images, whatever is done to them."""
    epochs = int(np.clip(PICTURES / (800 * (pixels + 10)) / rows, 10, 300))
    return Recipe(
        "adamw",
        (800,),
        "gelu",
        batch_size=128 if rows >= 10_000 else 32,
        epochs=epochs,
        learning_rate=0.002,
        beta2=0.99,
    )


def to_try(recipe: Recipe, rows: int) -> Recipe:
    """A short training of a small network, which shows what may be done to images."""
    hidden = (256,) if recipe.hidden == (800,) else recipe.hidden
    return replace(recipe, hidden=hidden, batch_size=32, epochs=int(np.clip(TRIED_SEEN / rows, 8, 60)))


# What the user may have settled that a bayesian recipe has a place for.
OF_EVIDENCE = {"hidden", "activation", "epochs", "beta2"}


def by_evidence(rows: int, inputs: int, problem: Problem, fixed: dict[str, Any], few: int = 0) -> list[Recipe]:
    """The bayesian recipes that so many rows allow, fewest parameters first."""
    if not problem.squares or set(fixed) - OF_EVIDENCE:
        return []
    allowed = []
    for hidden in [fixed["hidden"]] if "hidden" in fixed else WIDTHS:
        sizes = [inputs, *hidden, problem.labels]
        parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
        cost = ITERATIONS * parameters**2 * (problem.labels * rows + 2 * parameters)
        share = OF_FEWEST if rows <= FEWEST_ROWS else OF_FEW if rows <= FEW_ROWS else DETERMINED
        determined = share * rows * problem.labels
        if cost <= COST and (not hidden or parameters <= determined):
            parts, epochs = (PARTS, ITERATIONS) if cost < DEAR else (FEWER, HURRIED)
            activation, epochs = fixed.get("activation", "tanh"), fixed.get("epochs", epochs)
            most = BEGIN_FEW if rows <= FEW_ROWS else BEGIN if rows <= MORE_ROWS else 1
            starts = int(np.clip(BEGINNING * ITERATIONS / FIRST / cost, 1, most)) if hidden else 1
            recipe = Recipe(
                "bayesian", hidden, activation, epochs=epochs, costly=cost > COSTLY, parts=parts, few=few, starts=starts
            )  # fmt: skip
            allowed.append((parameters, recipe))
    return [recipe for _, recipe in sorted(allowed, key=lambda pair: pair[0])]


def start_of(recipe: Recipe, k: int) -> Recipe:
    """Return how the k-th start of a recipe is trained: every other one listens later, which suits data without noise."""
    return replace(recipe, deaf=DEAFER) if k % 2 else recipe

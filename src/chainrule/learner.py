"""Learns an ensemble: cross-fitted, so that every row is once answered by networks that never saw it.

Each recipe trains one network for each fold, on the other rows. What these answer for the rows of their folds judges the
recipe by all rows, sets its share in the ensemble, and says how good that will be on new ones.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from chainrule.data import Array, DataError, Indices, alone
from chainrule.diagnosis import CLEARLY, FORWARD, Answers, Remedies, gross, idle, learned, no_better, unvaried
from chainrule.ensemble import Pool
from chainrule.generator import fingerprints, permutation
from chainrule.images import Augmentation, candidates
from chainrule.inputs import PLAIN, Form, Inputs
from chainrule.jobs import Job, Pace, work_off
from chainrule.network import Floats, Network
from chainrule.recipes import (
    CHECKS,
    FEWER,
    LEADING,
    ONE_IN,
    PAIR,
    PARTS,
    SMALL,
    TRIAL,
    TRIED,
    WIDER,
    Examples,
    Problem,
    Recipe,
    by_batches,
    by_evidence,
    by_images,
    linear,
    others,
    to_try,
)
from chainrule.relevance import ASKED, MANY, how_few, largest, relevance, taken_one_by_one
from chainrule.targets import Bends
from chainrule.training import Callback, History
from chainrule.trials import FOLDS, Check, Choice, Doubles, Fold, Made, Trial, choose_shares, make_folds, mean_loss

# A recipe whose loss for the m rows of the first fold is above the least by over 0.1 + 2/√m of that is not tried on others.
BEHIND, NOISE = 0.1, 2.0
LONG = 20_000  # rows, from which on a large network takes longer than all short trainings of bayesian ones
SHARED = 128  # rows of a batch that several threads may well share
HOPELESS = 2.0  # times another's loss, that of a way after short trainings
# A bayesian network's evidence below the middle of those of its recipe, in nats a label: one that fits by a third less. So
# often others are then begun in its place.
ASTRAY, STARTS = 0.2, 2
COPIES = 0.5  # of the rows
LAYERS = {"hidden", "activation"}  # of a recipe
# Where time is limited: what part of what is left first networks may take, and trials of distortions; and the rows that show
# how long one takes.
MAY_TAKE, TO_CHOOSE, TIMED = 0.8, 0.25, 2048
SEEN, COUNT = 10, 4  # then the rows are so few that so many networks can see each so often
SCOUT = 0.25  # of the epochs: a training that shows which columns say most
INVERTIBLE = ("identity", "sigmoid", "softmax", "softplus", "exp")  # outputs that can be any constant


@dataclass
class Learner:
    """Learns an ensemble from a table and labels: which recipes, and how much of each."""

    problem: Problem
    inputs: Inputs | None
    table: Array
    labels: Floats
    weight: Doubles | None
    seed: int
    n_threads: int
    fixed: dict[str, Any] = field(default_factory=dict)  # what the user has settled of each recipe
    images: tuple[int, ...] | None = None  # their shape, where rows are images
    bends: Bends | None = None
    monotone: list[int] | None = None  # of each column, or of each input where there are no columns
    validation: Examples | None = None  # the user's own, by which all is judged in place of rows set aside
    deadline: float = np.inf
    report: Callable[[str], None] | None = None
    remedies: Remedies = field(default_factory=Remedies)  # against what the user has settled
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.began = time.perf_counter()
        self.encoded: dict[tuple[Form, bool], Array] = {}
        self.bent = None if self.bends is None else self.bends.apply(self.labels.astype(np.float64))
        self.known: dict[tuple[Recipe, int], Made] = {}  # trained already
        # Once, ahead of the time: whether again is seen when that comes.
        self.tried: dict[tuple[Recipe, int], Made] = {}
        self.paces: dict[Recipe, Pace] = {}  # where time is limited; of a second try it is that of the first
        self.took: dict[Recipe, float] = {}  # seconds of one thread, a recipe's last network
        self.one_in = 1  # of the rows is learned from
        self.hurried = False  # something was left out, or cut short, for want of time
        # Whose units said the same for every row when their training ended.
        self.idle: list[tuple[Recipe, Made]] = []
        self.in_vain: set[Recipe] = set()  # whose second try was no better
        self.warnings: list[str] = []  # what is to be said of what was learned
        self.unlearned: list[int] = []  # outputs, of several, that are worse than a constant
        self.constant = np.inf  # the loss of a constant answer;
        self.loss = np.inf  # and of all together
        self.ahead: list[Recipe] = []  # costly ones that in a short training were better than those of mini-batches
        self.scout = Recipe("", (), "identity")
        self.rises: dict[Fold, Doubles] = {}  # of each column, how much it says to the scout
        self.counts: dict[Fold, list[int]] = {}  # how many of them might do;
        self.straight: dict[Fold, int] = {}  # one of these: what a linear model takes, if no bar says the same
        self.looking = threading.Lock()

    def loss_of(self, folds: list[Fold], answers: Sequence[Floats], column: int | None = None) -> float:
        """Return the mean loss of answers for the rows set aside of some folds, or for the validation set.

        All labels count, or one column of them.
        """
        if self.validation is not None:
            labels = alone(self.validation[1], column)
            return float(np.mean([mean_loss(self.problem, z.astype(np.float64), labels, None) for z in answers]))
        rows = np.concatenate([fold.aside for fold in folds])
        weight = None if self.weight is None else self.weight[rows]
        return mean_loss(
            self.problem, np.concatenate(answers).astype(np.float64), alone(self.labels[rows], column), weight
        )

    def judged_by(self, fold: Fold) -> int:
        """Return by how many rows a network of a fold is judged."""
        return len(fold.aside) if self.validation is None else len(self.validation[0])

    def rows(self, recipe: Recipe, some: Any) -> Array:
        """Return some encoded rows: of all columns they are made once for each form, of few when they are asked for."""
        if recipe.form.columns:
            return self.encode(self.table[some], recipe)
        kind = (recipe.form, recipe.bayesian)
        if kind not in self.encoded:
            self.encoded[kind] = self.encode(self.table, recipe)
        rows: Array = self.encoded[kind][some]
        return rows

    def given(self, recipe: Recipe, fold: Fold, number: int = 0, threads: int = 1) -> Recipe:
        """Return a recipe of few columns with those that say most in a fold."""
        if not recipe.few:
            return recipe
        with self.looking:
            if fold not in self.rises:
                self.look_at_columns(fold, self.train_one(self.scout, fold, number, threads)[0])
        return replace(recipe, form=replace(recipe.form, columns=largest(self.rises[fold], recipe.few)))

    def encode(self, table: Array, recipe: Recipe) -> Array:
        """Return what a recipe's networks are given of a table."""
        if self.inputs is None:
            return table
        return self.inputs.encode(table, recipe.form, "float64" if recipe.bayesian else self.problem.dtype)

    @property
    def width(self) -> int:
        """How many inputs a network has that is given numbers as they are."""
        return self.table.shape[1] if self.inputs is None else self.inputs.width()

    def say_most(self, recipe: Recipe) -> list[str]:
        """Return the names of the columns of a recipe that is given few, which say most first, on average of all folds."""
        assert self.inputs is not None
        order = np.argsort(-np.mean([*self.rises.values()], axis=0), kind="stable")
        return [self.inputs.columns[self.inputs.used[k]].name for k in order[: recipe.few]]

    def signs(self, recipe: Recipe) -> list[int] | None:
        """Return the sign of each input, where answers may only rise or only fall."""
        if self.monotone is None or self.inputs is None:
            return self.monotone
        return self.inputs.signs(self.monotone, recipe.form)

    def late(self) -> bool:
        """Whether training is to end: time is up, or Ctrl-C was pressed."""
        return self.stopped.is_set() or time.perf_counter() > self.deadline

    def too_long(self, recipe: Recipe, threads: int) -> bool:
        """Whether another network of a recipe would not be ready in time."""
        return time.perf_counter() + self.took.get(recipe, 0.0) / threads > self.deadline

    def pace(self, recipe: Recipe) -> Pace:
        """Return for how many epochs a network is trained, and on one in how many of the rows."""
        return self.paces.get(at_any_rate(recipe), Pace(recipe.epochs))

    def take_fewer(self, classes: Array | None) -> None:
        """Let one row in some be the table, of each class alike, where time is limited: of very many little would be learned.

        What each row costs is seen by some of them.
        """
        n = len(self.table)
        if math.isinf(self.deadline) or "epochs" in self.fixed or self.inputs is None or n <= TIMED:
            return
        order = permutation(self.seed, FOLDS, n)
        if classes is not None:
            order = order[np.argsort(classes[order], kind="stable")]
        some = self.part(order[:: -(-n // TIMED)])
        recipes = by_batches(n, self.inputs, self.problem, self.fixed)
        recipe = max(recipes, key=lambda recipe: some.begin(recipe, np.arange(1), 0).parameters.size)
        started, rows = time.perf_counter(), len(some.table)
        some.rows(recipe, slice(0))
        encoded = time.perf_counter()
        epoch = some.epoch_of(recipe, Fold(np.arange(rows), np.arange(0)), 1)
        each = (encoded - started + COUNT * SEEN * epoch / self.n_threads) / rows
        one_in = math.ceil(min(n * each / (MAY_TAKE * max(self.deadline - time.perf_counter(), SMALL)), n / TIMED))
        if one_in > 1:
            fewer = self.part(np.sort(order[::one_in]))
            self.table, self.labels, self.weight, self.bent = fewer.table, fewer.labels, fewer.weight, fewer.bent
            self.one_in, self.hurried = one_in, True

    def part(self, some: Indices) -> Learner:
        """Return the same of some of the rows."""
        weight = None if self.weight is None else self.weight[some]
        return replace(self, table=self.table[some], labels=self.labels[some], weight=weight)

    def set_paces(self, jobs: Sequence[Job], part: float) -> None:
        """Let networks have as many epochs, and rows, as a part of the time left allows, if it is limited.

        A training that is cut short, its rate still high, leaves a network far from what a shorter one would have made of it.
        All recipes of the jobs are shortened alike: they are going to be compared.
        """
        if math.isinf(self.deadline) or "epochs" in self.fixed:
            return
        new = {at_any_rate(recipe): fold for recipe, fold, _ in jobs if not recipe.bayesian}
        new = {recipe: fold for recipe, fold in new.items() if recipe not in self.paces}
        threads = max(1, self.n_threads // max(len(jobs), 1))
        whole = [recipe.epochs * self.epoch_of(recipe, fold, threads) for recipe, fold in new.items()]
        left = max(self.deadline - time.perf_counter(), SMALL)
        for recipe, fold in new.items():
            longest = max(max(whole), sum(whole) / self.n_threads)
            affordable = max(recipe.epochs * part * left / longest, SMALL)
            self.paces[recipe] = Pace.within(affordable, recipe.epochs, max(1, len(fold.kept) // TIMED))

    def epoch_of(self, recipe: Recipe, fold: Fold, threads: int) -> float:
        """Return how many seconds an epoch takes, by two of some rows: the first begins with what no cache holds yet."""
        if self.late():
            return np.inf
        some = fold.kept[:: -(-len(fold.kept) // TIMED)]
        short = replace(recipe, epochs=2, learning_rate=SMALL)
        with warnings.catch_warnings(), contextlib.suppress(FloatingPointError):
            warnings.simplefilter("ignore", UserWarning)  # that this is interrupted; what follows will say so
            short = self.given(short, fold)
            seconds = self.train(self.begin(short, some, 0), short, some, 0, lambda _: self.late(), threads).seconds
            looked_at = self.judged_by(fold) * min(1.0, CHECKS / recipe.epochs) / 3  # answers take a third of training
            return max(min(seconds, default=np.inf), SMALL) * (len(fold.kept) + looked_at) / len(some)
        return SMALL

    def begin(self, recipe: Recipe, kept: Indices, number: int) -> Network:
        """Return a network as a recipe begins with it."""
        width = self.width if self.inputs is None else self.inputs.width(recipe.form)
        columns = 1 if self.inputs is None else len(self.inputs.given(recipe.form))
        network = self.problem.network(recipe, width, columns, self.seed_of(number))
        if not recipe.bayesian:
            self.problem.begin(network, self.labels_of(recipe)[kept])
        return network

    def train(
        self, network: Network, recipe: Recipe, kept: Indices, number: int, look: Callback, threads: int
    ) -> History:
        """Train a network as a recipe says, on some of the rows."""
        weight = None if self.weight is None else self.weight[kept]
        history = self.problem.train(
            network,
            recipe,
            self.rows(recipe, kept),
            self.labels_of(recipe)[kept],
            weight if weight is not None and weight.any() else None,
            self.seed_of(number),
            None if self.inputs is None else self.inputs.groups(recipe.form),
            self.signs(recipe),
            look,
            threads,
        )
        if history.ending == "interrupted":  # the training took Ctrl-C for itself: no other is to begin
            self.stopped.set()
        return history

    def seed_of(self, number: int) -> int:
        """Return the seed of a recipe's network."""
        return (self.seed + 1_000_003 * number) % 2**63

    def labels_of(self, recipe: Recipe) -> Floats:
        """Return the labels as a recipe learns them: bent, or as they are."""
        return self.bent if recipe.bend and self.bent is not None else self.labels

    def fit_member(self, recipe: Recipe, fold: Fold, number: int, threads: int = 1) -> Made:
        """Train one network on a fold's rows, and let it answer for the others."""
        pace, asked = self.pace(recipe), recipe
        started, kept = time.perf_counter(), fold.kept[:: pace.one_in]
        recipe = self.given(recipe, fold, number, threads)
        network = self.begin(recipe, kept, number)
        aside = self.rows(recipe, fold.aside) if fold.own is None else fold.own(recipe)
        checks: list[Check] = []

        def check(history: History) -> None:
            answers = self.problem.pool.ask(network, aside, threads)
            # As the network gave them: there may be very many.
            bends = self.bends if recipe.bend else None
            answers = answers.astype(network.dtype) if bends is None else bends.undo(answers)
            checks.append(Check(history.epochs, network.parameters.copy(), answers))

        def look(history: History) -> bool:
            if not recipe.bayesian:
                check(history)
            return self.late()

        history = self.train(network, replace(recipe, epochs=pace.epochs), kept, number, look, threads)
        self.took[asked] = (time.perf_counter() - started) * threads
        if not checks:
            check(history)
        whole = history.epochs == pace.epochs or history.ending not in ("stopped", "interrupted")
        if not whole or pace != Pace(recipe.epochs):
            self.hurried = True
        return Made(network, history, checks, whole, recipe.form)

    def all_of(self, jobs: Sequence[Job], ahead: Sequence[Job] = (), part: float = MAY_TAKE) -> list[Made | None]:
        """Train many networks, one a core; None where training diverged, or was not begun before time was up.

        Long ones that would leave cores idle in the end are trained before the others, by all cores. What is likely to come
        next is trained ahead, by cores that have nothing else to do. Where time is limited, first networks are to take
        no more than a part of what is left, and costly ones come last.
        """
        in_vain: list[Recipe] = []

        def run(job: Job, threads: int) -> Made | None:
            recipe, fold, number = job
            if (recipe, number) in self.known:
                return self.known.pop((recipe, number))
            late = (recipe, number) not in self.tried and (self.late() or self.too_long(recipe, threads))
            if late and (number > 0 or any(trained.values())):
                self.hurried = True
                return None
            if job in early:
                made = self.try_once(recipe, fold, number, threads)
            else:
                made, vain = self.train_one(recipe, fold, number, threads)
                if vain:
                    in_vain.append(recipe)
            if self.report is not None:
                seconds = time.perf_counter() - self.began
                self.report(f"{seconds:7.1f} s  {recipe}, network {number + 1}" + ("" if made else ": diverged"))
            return made

        if math.isinf(self.deadline):  # else one is looked at when its turn has come
            scouts = {fold: (self.scout, fold, number) for recipe, fold, number in (*jobs, *ahead) if recipe.few}
            scouts = {fold: job for fold, job in scouts.items() if fold not in self.rises}
            for fold, made in zip(scouts, self.all_of([*scouts.values()]) if scouts else (), strict=True):
                self.look_at_columns(fold, made)
        for recipe, _, _ in jobs:
            if not recipe.few:
                self.rows(recipe, slice(0))  # before threads ask for it
        held = {*self.known, *self.tried}
        new = [job for job in jobs if (job[0], job[2]) not in held]
        self.set_paces(new, part)
        limited = math.isfinite(self.deadline)
        large = [job for job in new if job[0].hidden and not job[0].bayesian and job[0].batch_size >= SHARED]
        longest = len(large) == len(new) or len(self.table) >= LONG  # else others take the other cores as long
        long = [job for job in new if job[0].costly or (longest and job in large)]
        first = [] if ahead or limited else long[: len(long) % self.n_threads]
        trained: dict[Job, Made | None] = {}
        early = frozenset(ahead)
        rest = sorted((job for job in jobs if job not in first), key=lambda job: job[0].costly == limited)

        for some, beside in ((first, ()), (rest, ahead)):
            work_off(some, beside, self.n_threads, run, trained, self.stopped)
        for recipe, fold, number in ahead:
            if (made := trained.get((recipe, fold, number))) is not None:
                self.tried[recipe, number] = made
        self.in_vain.update(in_vain)  # for the next jobs: among these the order is by chance
        return [trained[job] for job in jobs]

    def try_once(self, recipe: Recipe, fold: Fold, number: int, threads: int) -> Made | None:
        """Train a network; None where it diverged."""
        with contextlib.suppress(FloatingPointError):
            return self.fit_member(recipe, fold, number, threads)
        return None

    def train_one(self, recipe: Recipe, fold: Fold, number: int, threads: int) -> tuple[Made | None, bool]:
        """Train a network, and again with a tenth of the rate where it diverged, or most of its units say nothing.

        Returns the better one, None where both diverged; and whether the second was in vain.
        """
        first, vain = None, False
        made = self.tried.pop((recipe, number), None) or self.try_once(recipe, fold, number, threads)
        stuck = made is not None and bool(self.faults(recipe, made))
        again_too = stuck and recipe not in self.in_vain and not self.too_long(recipe, threads)
        if (made is None or again_too) and "learning_rate" not in self.fixed:
            first, slower = made, replace(recipe, learning_rate=recipe.learning_rate / 10)
            again = self.try_once(slower, fold, number, threads)
            if again is not None:
                made = again if first is None else self.better(recipe, fold, first, again)
                stuck = bool(self.faults(recipe, made))
            vain = made is first and stuck
        if made is not None and stuck:
            self.idle.append((recipe, made))
        return made, vain

    def better(self, recipe: Recipe, fold: Fold, first: Made, second: Made) -> Made:
        """Return the one of two networks that at its best time answers better; the first if time is up."""
        trials = [Trial(recipe, [fold], [made]) for made in (first, second)]
        for trial in trials:
            trial.judge(self.loss_of)
        return second if trials[1].loss < trials[0].loss and not self.late() else first

    def folds(self, parts: int | None, classes: Array | None) -> list[Fold]:
        """Return the rows to learn from and those to judge by, once for each network of a recipe."""
        n = len(self.table)
        if n < 2 and self.validation is None:
            raise DataError(f"X has n_samples={n}, too few to set any aside: name a solver, as solver='lbfgs'")
        by_rows = max(2, min(n, PARTS if n < 20_000 else FEWER))
        count = min(max(parts or 0, ONE_IN) if self.images is not None else parts or by_rows, n)
        if self.validation is None:
            return make_folds(originals(self.table, self.labels, classes), count, self.seed, classes)
        given = self.validation[0]

        def own(recipe: Recipe) -> Array:
            return self.encode(given, recipe)

        mixed = permutation(self.seed, FOLDS, n)  # some of them, one in so many, are then of all kinds
        return [Fold(mixed, np.arange(0), own) for _ in range(count)]

    def trials(self, recipes: list[Recipe], folds: list[Fold]) -> tuple[list[Trial], float]:
        """Return the trials of recipes, of a linear model and, where these learn nothing, of others; and its loss.

        As one of the trials the linear model is as the user has settled it, but for layers; its loss, by which all are
        measured, is that at its best.
        """
        rows, bend = len(folds[0].kept), recipes[0].bend
        fews = sorted({recipe.few for recipe in recipes} - {0})
        bars: list[Recipe] = []
        among: list[Recipe] = []
        if self.images is None:
            bars = [replace(linear(rows, self.width, self.problem, {}), bend=bend)]
            if not LAYERS & set(self.fixed):
                among = [replace(linear(rows, self.width, self.problem, self.fixed), bend=bend)]
                # And of few columns, where others are given few.
                among += [replace(linear(rows, few, self.problem, self.fixed), bend=bend, few=few) for few in fews]
        trials = self.cross_fit([*recipes, *among], folds)
        # Losses for other rows than these say nothing beside them.
        ran = max((trial.folds for trial in trials), key=len, default=folds[:1])
        measured = trials if bars == among or self.late() else self.cross_fit(bars, ran)
        straight = min((t.loss for t in measured if t.recipe in bars and t.folds == ran), default=np.inf)
        best = min((t.loss for t in trials if t.recipe not in among and t.folds == ran), default=np.inf)
        self.constant = self.loss_of(ran, self.constants(ran))
        if not self.late() and (best >= self.constant or best - straight > CLEARLY * abs(self.constant)):
            trials += self.cross_fit(others(recipes, self.fixed), folds)
        return trials, straight

    def constant_trial(self, folds: list[Fold], bend: str) -> Trial:
        """Return networks that answer a constant."""
        trial = Trial(Recipe("", (), "identity", bend=bend), folds)
        for answers in self.constants(folds):
            network = self.problem.flat(self.as_taught(answers[:1], bend)[0], self.width)
            trial.made.append(Made(network, History(), [Check(0, network.parameters.copy(), answers)]))
        return trial

    def as_taught(self, answers: Doubles, bend: str) -> Doubles:
        """Return answers as a network of a recipe gives them: bent where it is."""
        return answers if self.bends is None or not bend else self.bends.apply(answers)

    def flatten(self, trials: list[Trial]) -> None:
        """Let the outputs that are worse than a constant be one: that of the rows which each network learned from."""
        possible = self.problem.loss != "gaussian" and self.problem.output in INVERTIBLE
        outputs = self.unlearned if possible else []
        for trial in trials if outputs else ():
            for network, z in zip(trial.networks, self.constants(trial.folds), strict=True):
                self.problem.flatten(network, self.as_taught(z[:1], trial.recipe.bend)[0], outputs)

    def look_for_idle(self, networks: list[Network], better: bool) -> None:
        """Say what there is against networks that were idle when their training ended: at the best time they may not be.

        Nothing, where they were settled by nobody and are better than a linear model all the same: the others do the work.
        """
        if better and not self.remedies.settled:
            return
        faults = [
            fault
            for network in networks
            for recipe, made in self.idle
            if made.network is network
            for fault in self.faults(recipe, made)
        ]
        if faults and not unvaried(self.table):
            self.warnings.append(f"{faults[0]}. {self.remedies.before('look')} for outliers in X and y")

    def plan(self, folds: list[Fold], parts: int | None, bent: bool) -> list[Recipe]:
        """Return the recipes for what is to be learned, as short trainings on the first fold have them."""
        fold, rows = folds[0], len(folds[0].kept)
        if self.images is not None:
            recipe = replace(by_images(rows, self.table.shape[1]), parts=parts or PAIR, **self.fixed)
            choose = "augment" not in self.fixed
            return [self.choose_augmentation(recipe, fold, candidates(self.images)) if choose else recipe]
        given = [()] if self.inputs is None else self.choose_columns(fold)
        batches = [r for columns in given for r in by_batches(rows, self.inputs, self.problem, self.fixed, columns)]
        heard: list[Recipe] = []
        if self.inputs is not None:
            width = self.inputs.width(Form(columns=given[0]))
            heard = by_evidence(rows, width, self.problem, self.fixed, len(given[0]))
        bends = [""] if self.bends is None else [str(self.bends)] if bent else ["", str(self.bends)]
        large = [[*dict.fromkeys(replace(recipe, bend=bend) for recipe in batches)] for bend in bends]
        widths = [[replace(recipe, bend=bend) for recipe in heard] for bend in bends]
        if len(heard) > 1:
            ways = self.choose_widths(widths, fold, large)
        else:
            ways = [[*recipes, *chosen] for recipes, chosen in zip(large, widths, strict=True)]
        return ways[0] if len(ways) == 1 else self.better_way(ways, folds)

    def choose_columns(self, fold: Fold) -> list[tuple[int, ...]]:
        """Return of which columns recipes are to be: of few, of all, (), or some of these and others of those.

        Of all where short trainings with few are hardly better for a fold; of few where they are so clearly.
        """
        assert self.inputs is not None
        if len(self.inputs.used) < MANY:
            return [()]

        def short(columns: tuple[int, ...]) -> Recipe:
            recipe = by_batches(len(fold.kept), self.inputs, self.problem, self.fixed, columns)[0]
            bend = "" if self.bends is None else str(self.bends)
            return replace(recipe, epochs=math.ceil(SCOUT * recipe.epochs), bend=bend)

        def loss(made: Made | None) -> float:
            trial = Trial(self.scout, [fold], [made] if made else [])
            if made is not None:
                trial.judge(self.loss_of)
            return trial.loss

        self.scout = short(())
        [whole] = self.all_of([(self.scout, fold, 0)], part=TO_CHOOSE)
        self.look_at_columns(fold, whole)
        few = [largest(self.rises[fold], count) for count in self.counts[fold]]
        losses = [loss(made) for made in self.all_of([(short(columns), fold, 0) for columns in few], part=TO_CHOOSE)]
        bar, least = loss(whole), min(losses, default=np.inf)
        if not less(least, bar, BEHIND):
            return [()]
        straight = [len(columns) == self.straight[fold] for columns in few]
        rest = min((loss for loss, line in zip(losses, straight, strict=True) if not line), default=np.inf)
        fewest = next(
            columns
            for columns, loss, line in zip(few, losses, straight, strict=True)
            if not less(least, loss, BEHIND) and (not line or less(loss, rest, BEHIND))
        )
        clearly = less(least, bar, behind(self.judged_by(fold))) and len(fewest) != self.straight[fold]
        return [fewest] if clearly else [fewest, ()]

    def look_at_columns(self, fold: Fold, made: Made | None) -> None:
        """Note how much each column says to a network that was trained on a fold; if none was, that all say as much."""
        assert self.inputs is not None
        some = fold.kept[:: -(-len(fold.kept) // ASKED)]
        labels, weight = self.labels_of(self.scout)[some], None if self.weight is None else self.weight[some]
        rises = np.ones(len(self.inputs.used)) if made is None else relevance(
            made.network, self.rows(self.scout, some), self.inputs.groups(self.scout.form), labels, self.problem, self.seed,
            self.n_threads, weight,
        )  # fmt: skip
        straight = replace(self.scout, form=PLAIN)
        taken = taken_one_by_one(self.encode(self.table[some], straight), self.inputs.groups(PLAIN), labels, weight)
        self.counts[fold], self.straight[fold] = how_few(rises, len(taken))
        rises[taken] += np.ptp(rises) * (2 - np.arange(len(taken)) / max(len(taken), 1))  # say most, the first more
        self.rises[fold] = rises

    def choose_widths(self, ways: list[list[Recipe]], fold: Fold, large: list[list[Recipe]]) -> list[list[Recipe]]:
        """Return of each way its large recipes and the two bayesian ones of the largest evidence for a fold's rows.

        The evidence is that after a short training. The widest, which cost most, are tried where of the others one of the
        wider is best. The large recipes, which come next, are trained at the same time; a way in which all answer far worse
        than the best of another is left out.
        """
        beside = [recipe for recipes in large for recipe in recipes]
        heard: dict[Recipe, float] = {}
        losses: dict[Recipe, float] = {}

        def listen(recipes: list[Recipe], beside: list[Recipe]) -> None:
            jobs = [(short_of(recipe), fold, start) for recipe in recipes for start in (0, 1)]
            jobs = [*((recipe, fold, 0) for recipe in beside), *jobs]
            for (recipe, _, number), one in zip(jobs, self.all_of(jobs), strict=True):
                if one is None:
                    continue
                losses[recipe] = min(losses.get(recipe, np.inf), self.loss_of([fold], [one.checks[-1].answers]))
                if recipe in beside:
                    self.known[recipe, number] = one
                elif one.history.evidence is not None:
                    heard[recipe] = max(heard.get(recipe, -np.inf), one.history.evidence.log)

        def loudest(recipes: list[Recipe]) -> list[Recipe]:
            return sorted((r for r in recipes if short_of(r) in heard), key=lambda r: -heard[short_of(r)])

        listen([recipe for recipes in ways for recipe in recipes if recipe.hidden not in WIDER], beside)
        rising = [recipes for recipes in ways if any(r.hidden in LEADING for r in loudest(recipes)[:1])]
        listen([recipe for recipes in rising for recipe in recipes if recipe.hidden in WIDER], [])
        best = min((losses[recipe] for recipe in beside if recipe in losses), default=np.inf)
        self.ahead = [r for recipes in ways for r in loudest(recipes)[:1] if r.costly and losses[short_of(r)] < best]
        least: dict[str, float] = {}  # of each way, which has a bend of its own
        for recipe, loss in losses.items():
            least[recipe.bend] = min(least.get(recipe.bend, np.inf), loss)
        lowest = min(least.values(), default=np.inf)
        whole = [[*own, *loudest(recipes)[:2]] for own, recipes in zip(large, ways, strict=True)]
        return [recipes for recipes in whole if not least.get(recipes[0].bend, np.inf) > HOPELESS * lowest]

    def likely(self, recipes: list[Recipe], folds: list[Fold]) -> list[Job]:
        """Return what is likely to be trained after the first fold: one recipe on the others."""
        large = [recipe for recipe in recipes if not recipe.bayesian and recipe.hidden]
        first = next((recipe for recipe in [*self.ahead, *large] if recipe in recipes), None)
        return [] if first is None else [(first, fold, k) for k, fold in enumerate(folds) if 0 < k < first.parts]

    def better_way(self, ways: list[list[Recipe]], folds: list[Fold]) -> list[Recipe]:
        """Return the first of two lists of recipes, unless the best of the second is clearly better for the first fold."""
        fold = folds[0]
        jobs = [(recipe, fold, 0) for recipes in ways for recipe in recipes]
        lowest: dict[Recipe, float] = {}
        for (recipe, _, _), made in zip(jobs, self.all_of(jobs, self.likely(ways[0], folds)), strict=True):
            trial = Trial(recipe, [fold], [made] if made else [])
            if made is not None:
                trial.judge(self.loss_of)
                self.known[recipe, 0] = made
            lowest[recipe] = trial.loss if np.isfinite(trial.loss) else np.inf
        first, second = (min(lowest[recipe] for recipe in recipes) for recipes in ways)
        return ways[1] if less(second, first, behind(self.judged_by(fold))) else ways[0]

    def faults(self, recipe: Recipe, made: Made) -> list[str]:
        """Return what is to be said of a network's idle units; the evidence may well have found that few are needed."""
        if recipe.bayesian or self.late() or self.hurried:
            return []
        some = slice(None, None, -(-len(self.table) // FORWARD))
        return idle(made.network, self.rows(replace(recipe, form=made.form), some))

    def constants(self, folds: list[Fold]) -> list[Doubles]:
        """Return answers that do not look at the inputs."""
        answers = []
        for fold in folds:
            weight = None if self.weight is None else self.weight[fold.kept]
            z = self.problem.constant(self.labels[fold.kept], weight)
            answers.append(np.repeat(z, self.judged_by(fold), axis=0))
        return answers

    def look_at_answers(self, choice: Choice, linear: float) -> None:
        """Say what the ensemble's answers are no better than, if nothing has cut the training short."""
        little = self.constant - choice.loss <= CLEARLY * abs(self.constant)
        if self.hurried and not self.stopped.is_set() and little:
            self.warnings.append(
                "nothing was learned in the time that time_limit allows: set it higher, or leave it out"
            )
        if self.late() or self.hurried:
            return
        pairs = Answers(choice.answers, self.constants(choice.folds), partial(self.loss_of, choice.folds))
        said, self.unlearned = no_better(pairs, self.problem, self.table, self.labels, linear, self.remedies)
        if not said and self.problem.squares and self.problem.output == "identity" and self.validation is None:
            rows = np.concatenate([fold.aside for fold in choice.folds])
            said = gross(np.concatenate(choice.answers), self.labels, rows)
        self.warnings += said

    def choose_augmentation(self, recipe: Recipe, fold: Fold, candidates: list[Augmentation | None]) -> Recipe:
        """Return the recipe with what may be done to images: what it is best to do with some in a short training."""
        few = replace(fold, kept=fold.kept[:: -(-len(fold.kept) // TRIED)], aside=fold.aside[:TRIED])
        short = to_try(recipe, len(few.kept))
        jobs = [(replace(short, augment=augment), few, 0) for augment in candidates]
        losses = []
        for made in self.all_of(jobs, part=TO_CHOOSE):
            loss = np.inf if made is None else self.loss_of([few], [made.checks[-1].answers])
            losses.append(loss if np.isfinite(loss) else np.inf)
        return replace(recipe, augment=candidates[int(np.argmin(losses))])

    def cross_fit(self, recipes: list[Recipe], folds: list[Fold]) -> list[Trial]:
        """Train a network of each recipe for each fold; for the first alone of a recipe that is far behind there.

        Of the bayesian ones that of the larger evidence goes on.
        """
        trials = {recipe: Trial(recipe) for recipe in recipes}

        def run(jobs: list[Job], ahead: Sequence[Job] = ()) -> None:
            for (recipe, fold, _), made in zip(jobs, self.all_of(jobs, ahead), strict=True):
                if made is not None:
                    trials[recipe].folds.append(fold)
                    trials[recipe].made.append(made)
            for trial in trials.values():
                if trial.made:
                    trial.sort(folds)
                    trial.drop_unfinished()
                    trial.judge(self.loss_of)

        for some in (folds[:1], folds[1:]) if len(recipes) > 1 else (folds,):
            lowest = min((trial.loss for trial in trials.values()), default=np.inf)
            judged = self.judged_by(folds[0])
            jobs = [
                (recipe, fold, folds.index(fold))
                for fold in some
                for recipe, trial in trials.items()
                if folds.index(fold) < recipe.parts
                and (not trial.made or trial.loss - lowest <= margin_of(recipe, judged) * abs(lowest) + SMALL)
            ]
            run(jobs, self.likely(recipes, folds) if len(some) < len(folds) and folds[0] in some else ())
            heard = [trial for trial in trials.values() if trial.evidence is not None and trial.recipe.hidden]
            for trial in sorted(heard, key=lambda trial: -(trial.evidence or 0))[1:]:
                del trials[trial.recipe]
        for trial in trials.values():
            self.start_again(trial)
        # What was best for the first fold may not be so for the others: then what fell behind there is tried after all.
        lowest = min((trial.loss for trial in trials.values() if len(trial.made) > 1), default=np.inf)
        clearly = behind(self.judged_by(folds[0]))
        after_all = [
            t for t in trials.values() if len(t.made) == 1 and lowest < np.inf and less(t.loss, lowest, clearly)
        ]
        rest = [
            (t.recipe, k) for t in after_all for k in range(min(len(folds), t.recipe.parts)) if folds[k] not in t.folds
        ]
        if rest:
            run([(recipe, folds[k], k) for recipe, k in rest])
        return [trial for trial in trials.values() if trial.made]

    def start_again(self, trial: Trial) -> None:
        """Let networks that went astray, known by an evidence far below the others', begin from other weights."""
        for start in range(1, STARTS + 1) if trial.recipe.hidden else ():
            logs = [made.history.evidence.log for made in trial.made if made.history.evidence]
            if not logs or len(logs) < len(trial.made) or self.late():
                return
            heard = [log / len(fold.kept) for log, fold in zip(logs, trial.folds, strict=True)]
            below = np.median(heard) - ASTRAY * self.labels.shape[1]
            astray = [k for k, log in enumerate(heard) if log < below]
            if not astray:
                return
            jobs = [(trial.recipe, trial.folds[k], start * len(heard) + k) for k in astray]
            for k, made in zip(astray, self.all_of(jobs), strict=True):
                if made is not None and made.history.evidence and made.history.evidence.log > logs[k]:
                    trial.made[k] = made
            trial.judge(self.loss_of)


def at_any_rate(recipe: Recipe) -> Recipe:
    """Return what two recipes have in common that differ in the learning rate alone."""
    return replace(recipe, learning_rate=0.0)


def short_of(recipe: Recipe) -> Recipe:
    """Return a bayesian recipe's short training, by which its width is judged."""
    return replace(recipe, epochs=min(TRIAL, recipe.epochs))


def originals(table: Array, labels: Floats, classes: Array | None) -> Indices:
    """Return of each row, labels included, the first that is equal to it, where rows are copies; else itself; (n,).

    They are where most, or most of a class, are there more than once. Fewer may well be there again in what is to come.
    """
    prints = fingerprints(labels) + np.uint64(3) * fingerprints(table)
    _, first, of, count = np.unique(prints, return_index=True, return_inverse=True, return_counts=True)
    kind = np.zeros(len(of), dtype=np.intp) if classes is None else np.unique(classes, return_inverse=True)[1]
    copied = np.bincount(kind, weights=count[of] > 1) > COPIES * np.bincount(kind)
    return np.asarray(np.where(copied[kind], first[of], np.arange(len(of))))


def margin_of(recipe: Recipe, rows: int) -> float:
    """Return the share of the least loss by which a recipe's may be above it, judged by so many rows."""
    return BEHIND if recipe.costly else behind(rows)


def less(loss: float, than: float, margin: float) -> bool:
    """Return whether a loss is less than another by more than a share of itself."""
    return than - loss > margin * abs(loss)


def behind(rows: int) -> float:
    """Return the share of a loss by which another is clearly larger, judged by so many rows."""
    return BEHIND + NOISE / math.sqrt(max(rows, 1))


def learn(learner: Learner, parts: int | None, classes: Array | None, bent: bool = False) -> tuple[list[Trial], Pool]:
    """Return the trials of the recipes for a table, each with its share, and how their answers become one.

    With a validation set every network learns from all rows. The targets are bent where that helps or, where it is so
    settled, in any case.
    """
    folds = learner.folds(parts, classes)
    trials, linear = learner.trials(learner.plan(folds, parts, bent), folds)
    for trial in trials:
        trial.settle(learner.loss_of)
    if not any(np.isfinite(trial.loss) for trial in trials):
        raise FloatingPointError(
            f"no network learned anything finite. {learner.remedies.before('look')} for outliers in the data, or scale it"
        )
    choice = choose_shares(trials, learner.loss_of, learner.problem.pool)
    # As one of several a constant would shrink the answers by what a network alone is too sure of, not all together.
    nothing = not learned(choice.loss, learner.constant, len(learner.labels))
    if nothing and learner.problem.output in INVERTIBLE and not LAYERS & set(learner.fixed):
        trials.append(learner.constant_trial(choice.folds, trials[0].recipe.bend))
        trials[-1].settle(learner.loss_of)
        choice = choose_shares(trials, learner.loss_of, learner.problem.pool)
    learner.loss = choice.loss
    learner.look_at_answers(choice, linear)
    learner.flatten([trial for trial in trials if trial.share])
    learner.look_for_idle(
        [network for trial in trials if trial.share for network in trial.networks], choice.loss < linear
    )
    return trials, choice.pool.after(*learner.labels.shape)

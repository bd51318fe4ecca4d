"""Learns an ensemble: cross-fitted, so that every row is once answered by networks that never saw it.

Each recipe trains one network for each fold, on the other rows. What these answer for the rows of their folds judges the
recipe by all rows, sets its share in the ensemble, and says how good that will be on new ones.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chainrule.data import Array, DataError, Indices
from chainrule.diagnosis import CLEARLY, idle
from chainrule.ensemble import Pool
from chainrule.generator import fingerprints
from chainrule.images import Augmentation, candidates
from chainrule.inputs import Form, Inputs
from chainrule.network import Floats, Network
from chainrule.recipes import (
    FEWER,
    ONE_IN,
    PAIR,
    PARTS,
    SMALL,
    TRIAL,
    TRIED,
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
from chainrule.targets import Bends
from chainrule.training import History
from chainrule.trials import GAIN, Check, Choice, Doubles, Fold, Made, Trial, choose_shares, make_folds, mean_loss

# A recipe whose loss for the m rows of the first fold is above the least by over 0.1 + 2/√m of that is not tried on others.
BEHIND, NOISE = 0.1, 2.0
COPIES = 0.5  # of the rows
BARELY = 10  # rows by which a column of several is not judged
CHANCE = 4.0  # rows' losses that the best of several is lower by, where there is nothing to learn


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
    settled: list[str] = field(default_factory=list)  # the user's names for it
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.encoded: dict[tuple[Form, bool], Array] = {}
        self.bent = None if self.bends is None else self.bends.apply(self.labels.astype(np.float64))
        self.known: dict[tuple[Recipe, int], Made] = {}  # trained already
        self.idle: list[Network] = []  # whose units said the same for every row when their training ended
        self.in_vain: set[Recipe] = set()  # whose second try was no better
        self.warnings: list[str] = []  # what is to be said of what was learned
        self.constant = np.inf  # the loss of a constant answer

    def loss_of(self, folds: list[Fold], answers: Sequence[Doubles], column: int | None = None) -> float:
        """Return the mean loss of answers for the rows set aside of some folds, or for the validation set.

        All labels count, or one column of them.
        """
        if self.validation is not None:
            labels = alone(self.validation[1], column)
            return float(np.mean([mean_loss(self.problem, z, labels, None) for z in answers]))
        rows = np.concatenate([fold.aside for fold in folds])
        weight = None if self.weight is None else self.weight[rows]
        return mean_loss(self.problem, np.concatenate(answers), alone(self.labels[rows], column), weight)

    def judged_by(self, fold: Fold) -> int:
        """Return by how many rows a network of a fold is judged."""
        return len(fold.aside) if self.validation is None else len(self.validation[0])

    def rows(self, recipe: Recipe) -> Array:
        """Return the encoded rows, made once for each form."""
        kind = (recipe.form, recipe.bayesian)
        if kind not in self.encoded:
            self.encoded[kind] = self.encode(self.table, recipe)
        return self.encoded[kind]

    def encode(self, table: Array, recipe: Recipe) -> Array:
        """Return what a recipe's networks are given of a table."""
        if self.inputs is None:
            return table
        return self.inputs.encode(table, recipe.form, "float64" if recipe.bayesian else self.problem.dtype)

    @property
    def width(self) -> int:
        """How many inputs a network has that is given numbers as they are."""
        return self.table.shape[1] if self.inputs is None else self.inputs.width()

    def signs(self, recipe: Recipe) -> list[int] | None:
        """Return the sign of each input, where answers may only rise or only fall."""
        if self.monotone is None or self.inputs is None:
            return self.monotone
        return self.inputs.signs(self.monotone, recipe.form)

    def late(self) -> bool:
        """Whether training is to end: time is up, or Ctrl-C was pressed."""
        return self.stopped.is_set() or time.perf_counter() > self.deadline

    def fit_member(self, recipe: Recipe, fold: Fold, number: int, threads: int = 1) -> Made:
        """Train one network on a fold's rows, and let it answer for the others."""
        X, seed = self.rows(recipe), (self.seed + 1_000_003 * number) % 2**63
        columns = 1 if self.inputs is None else len(self.inputs.used)
        network = self.problem.network(recipe, X.shape[1], columns, seed)

        aside = X[fold.aside] if fold.own is None else fold.own(recipe)
        weight = None if self.weight is None else self.weight[fold.kept]
        checks: list[Check] = []

        labels = self.labels
        if recipe.bend and self.bent is not None:
            labels = self.bent

        def check(history: History) -> None:
            answers = self.problem.pool.ask(network, aside, threads)
            if recipe.bend and self.bends is not None:
                answers = self.bends.undo(answers)
            checks.append(Check(history.epochs, network.parameters.copy(), answers))

        def look(history: History) -> bool:
            if not recipe.bayesian:
                check(history)
            return self.late()

        if not recipe.bayesian:
            self.problem.begin(network, labels[fold.kept])
        history = self.problem.train(
            network,
            recipe,
            X[fold.kept],
            labels[fold.kept],
            weight if weight is not None and weight.any() else None,
            seed,
            None if self.inputs is None else self.inputs.groups(recipe.form),
            self.signs(recipe),
            look,
            threads,
        )
        if history.ending == "interrupted":  # the training took Ctrl-C for itself: no other is to begin
            self.stopped.set()
        if not checks:
            check(history)
        return Made(network, history, checks)

    def all_of(self, jobs: Sequence[tuple[Recipe, Fold, int]]) -> list[Made | None]:
        """Train many networks, one a core; None where training diverged, or was not begun before time was up.

        Costly ones that would leave cores idle in the end are trained before the others, by all cores.
        """
        done = iter(range(1, len(jobs) + 1))
        no_better: list[Recipe] = []

        def run(job: tuple[Recipe, Fold, int], threads: int) -> Made | None:
            recipe, fold, number = job
            if (recipe, number) in self.known:
                return self.known.pop((recipe, number))
            if self.late() and number > 0:
                return None
            made, first, stuck = None, None, False
            for rate in (recipe.learning_rate, recipe.learning_rate / 10):
                first = made
                with contextlib.suppress(FloatingPointError):
                    tried = self.fit_member(replace(recipe, learning_rate=rate), fold, number, threads)
                    made = tried if first is None else self.better(recipe, fold, first, tried)
                stuck = made is not None and bool(self.faults(recipe, made.network))
                enough = made is not None and (not stuck or recipe in self.in_vain)
                if enough or "learning_rate" in self.fixed:
                    break
            if made is not None and stuck:
                self.idle.append(made.network)
                if made is first:
                    no_better.append(recipe)
            if self.report is not None:
                self.report(f"{next(done)}/{len(jobs)}  {recipe}" + ("" if made else ": diverged"))
            return made

        for recipe, _, _ in jobs:
            self.rows(recipe)  # before threads ask for it
        costly = [job for job in jobs if job[0].costly]
        first = costly[: len(costly) % self.n_threads]
        trained: dict[tuple[Recipe, Fold, int], Made | None] = {}
        rest = sorted((job for job in jobs if job not in first), key=lambda job: not job[0].costly)
        for some in (first, rest):
            threads = max(1, self.n_threads // max(len(some), 1))
            if self.n_threads == 1 or len(some) <= 1:
                trained |= {job: run(job, threads) for job in some}
                continue
            with ThreadPoolExecutor(min(self.n_threads, len(some))) as pool:
                running = {job: pool.submit(run, job, threads) for job in some}
                try:
                    wait(running.values())
                except KeyboardInterrupt:  # what was learned is kept
                    self.stopped.set()
                trained |= {job: future.result() for job, future in running.items()}
        self.in_vain.update(no_better)  # for the next jobs: among these the order is by chance
        return [trained[job] for job in jobs]

    def better(self, recipe: Recipe, fold: Fold, first: Made, second: Made) -> Made:
        """Return the one of two networks that at its best time answers better; the first if time is up."""
        trials = [Trial(recipe, [fold], [made]) for made in (first, second)]
        for trial in trials:
            trial.judge(self.loss_of)
        return second if trials[1].loss < trials[0].loss and not self.late() else first

    def plan(self, fold: Fold, parts: int | None, bent: bool) -> list[Recipe]:
        """Return the recipes for what is to be learned, as short trainings on a fold have them."""
        rows = len(fold.kept)
        if self.images is not None:
            recipe = replace(by_images(rows, self.table.shape[1]), parts=parts or PAIR, **self.fixed)
            choose = "augment" not in self.fixed
            return [self.choose_augmentation(recipe, fold, candidates(self.images)) if choose else recipe]
        table = self.inputs is not None
        batches = by_batches(rows, self.inputs, self.problem, self.fixed)
        heard = by_evidence(rows, self.width, self.problem, self.fixed) if table else []
        bends = [""] if self.bends is None else [str(self.bends)] if bent else ["", str(self.bends)]
        ways = []
        for bend in bends:
            widths = [replace(recipe, bend=bend) for recipe in heard]
            widths = self.choose_width(widths, fold) if len(widths) > 1 else widths
            ways.append([*dict.fromkeys(replace(recipe, bend=bend) for recipe in batches), *widths])
        return ways[0] if len(ways) == 1 else self.better_way(ways, fold)

    def choose_width(self, recipes: list[Recipe], fold: Fold) -> list[Recipe]:
        """Return the two bayesian recipes of the largest evidence for the rows of a fold, after a short training."""
        jobs = [
            (replace(recipe, epochs=min(TRIAL, recipe.epochs)), fold, start) for recipe in recipes for start in (0, 1)
        ]
        heard: dict[Recipe, float] = {}
        for recipe, made in zip((recipe for recipe in recipes for _ in (0, 1)), self.all_of(jobs), strict=True):
            if made is not None and made.history.evidence is not None:
                heard[recipe] = max(heard.get(recipe, -np.inf), made.history.evidence.log)
        return sorted(heard, key=lambda recipe: -heard[recipe])[:2]

    def better_way(self, ways: list[list[Recipe]], fold: Fold) -> list[Recipe]:
        """Return the first of two lists of recipes, unless the best of the second is clearly better for a fold's rows."""
        jobs = [(recipe, fold, 0) for recipes in ways for recipe in recipes]
        lowest: dict[Recipe, float] = {}
        for (recipe, _, _), made in zip(jobs, self.all_of(jobs), strict=True):
            trial = Trial(recipe, [fold], [made] if made else [])
            if made is not None:
                trial.judge(self.loss_of)
                self.known[recipe, 0] = made
            lowest[recipe] = trial.loss if np.isfinite(trial.loss) else np.inf
        first, second = (min(lowest[recipe] for recipe in recipes) for recipes in ways)
        clearly = 1 + behind(self.judged_by(fold))
        return ways[1] if second * clearly < first else ways[0]

    def faults(self, recipe: Recipe, network: Network) -> list[str]:
        """Return what is to be said of a network's idle units; the evidence may well have found that few are needed."""
        return [] if recipe.bayesian or self.late() else idle(network, self.rows(recipe))

    def constants(self, folds: list[Fold]) -> list[Doubles]:
        """Return answers that do not look at the inputs."""
        answers = []
        for fold in folds:
            weight = None if self.weight is None else self.weight[fold.kept]
            z = self.problem.constant(self.labels[fold.kept], weight)
            answers.append(np.repeat(z, self.judged_by(fold), axis=0))
        return answers

    def compare(self, choice: Choice, linear: float) -> None:
        """Say what the ensemble's loss is no better than, if nothing has cut the training short."""
        if self.late():
            return
        still = "y" if unvaried(self.labels) else "each column of X" if unvaried(self.table) else ""
        if still:
            self.warnings.append(f"{still} is the same in every row: nothing is to be learned but a constant answer")
            return
        flat, loss = self.constants(choice.folds), choice.loss
        constant = self.loss_of(choice.folds, flat)
        columns: list[int | None] = [] if self.problem.output == "softmax" else list(range(self.labels.shape[1]))
        for column in [None, *columns] if len(columns) != 1 else [None]:
            own, bar = (self.loss_of(choice.folds, z, column) for z in (choice.answers, flat))
            labels = alone(self.labels, column)
            known = int((~np.isnan(labels)).any(axis=1).sum())
            if known < min(BARELY, len(labels) / 2):
                self.warnings.append(
                    f"column {column} of y is known in {known} of {len(labels)} rows: too few to learn it from, or to judge "
                    f"what is answered. Get more of them, or leave the column out"
                )
                break
            if own < bar - min(max(GAIN, CHANCE / known), 0.5) * abs(bar) or unvaried(labels):
                continue
            what = "y depends" if column is None else f"column {column} of y, of which {known} rows are known, depends"
            self.warnings.append(
                f"no network found in X what {what} on: on rows not learned from the mean loss is {own:.4g}, that of a "
                f"constant answer {bar:.4g}. {self.unsettle('look')} whether the rows of X and y belong together, or "
                f"get more of them, or other columns"
            )
            break
        if self.warnings:
            return
        if loss - linear > CLEARLY * abs(constant):
            self.warnings.append(
                f"the networks are worse than a linear model: on rows not learned from their mean loss is {loss:.4g}, "
                f"its own {linear:.4g}. {self.unsettle('get')} more rows"
            )

    def unsettle(self, remedy: str) -> str:
        """Return the beginning of a remedy: before all else, to leave to auto what was settled."""
        return f"Leave {', '.join(self.settled)} to auto, or {remedy}" if self.settled else remedy.capitalize()

    def choose_augmentation(self, recipe: Recipe, fold: Fold, candidates: list[Augmentation | None]) -> Recipe:
        """Return the recipe with what may be done to images: what it is best to do with some in a short training."""
        few = replace(fold, kept=fold.kept[:: -(-len(fold.kept) // TRIED)], aside=fold.aside[:TRIED])
        short = to_try(recipe, len(few.kept))
        jobs = [(replace(short, augment=augment), few, 0) for augment in candidates]
        losses = []
        for made in self.all_of(jobs):
            loss = np.inf if made is None else self.loss_of([few], [made.checks[-1].answers])
            losses.append(loss if np.isfinite(loss) else np.inf)
        return replace(recipe, augment=candidates[int(np.argmin(losses))])

    def cross_fit(self, recipes: list[Recipe], folds: list[Fold]) -> list[Trial]:
        """Train a network of each recipe for each fold; for the first alone of a recipe that is far behind there.

        Of the bayesian ones that of the larger evidence goes on.
        """
        trials = {recipe: Trial(recipe) for recipe in recipes}
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
            for (recipe, fold, _), made in zip(jobs, self.all_of(jobs), strict=True):
                if made is not None:
                    trials[recipe].folds.append(fold)
                    trials[recipe].made.append(made)
            for trial in trials.values():
                if trial.made:
                    trial.judge(self.loss_of)
            heard = [trial for trial in trials.values() if trial.evidence is not None and trial.recipe.hidden]
            for trial in sorted(heard, key=lambda trial: -(trial.evidence or 0))[1:]:
                del trials[trial.recipe]
        return [trial for trial in trials.values() if trial.made]


def alone(labels: Floats, column: int | None) -> Floats:
    """Return labels of which one column is known, the others missing; all of them where none is named."""
    if column is None:
        return labels
    only = np.full_like(labels, np.nan)
    only[:, column] = labels[:, column]
    return only


def originals(table: Array, labels: Floats, classes: Array | None) -> Indices:
    """Return of each row, labels included, the first that is equal to it, where rows are copies; else itself; (n,).

    They are where most, or most of a class, are there more than once. Fewer may well be there again in what is to come.
    """
    prints = fingerprints(labels) + np.uint64(3) * fingerprints(table)
    _, first, of, count = np.unique(prints, return_index=True, return_inverse=True, return_counts=True)
    kind = np.zeros(len(of), dtype=np.intp) if classes is None else np.unique(classes, return_inverse=True)[1]
    copied = np.bincount(kind, weights=count[of] > 1) > COPIES * np.bincount(kind)
    return np.asarray(np.where(copied[kind], first[of], np.arange(len(of))))


def unvaried(values: Array) -> bool:
    """Whether no column of a table or of labels holds two values."""
    first = values[:1]
    return bool(((values == first) | np.isnan(values)).all())


def margin_of(recipe: Recipe, rows: int) -> float:
    """Return the share of the least loss by which a recipe's may be above it, judged by so many rows."""
    return BEHIND if recipe.costly else behind(rows)


def behind(rows: int) -> float:
    """Return the share of a loss by which another is clearly larger, judged by so many rows."""
    return BEHIND + NOISE / math.sqrt(max(rows, 1))


def parts_of(rows: int) -> int:
    """Return into how many parts so many rows are divided."""
    return max(2, min(rows, PARTS if rows < 20_000 else FEWER))


def learn(learner: Learner, parts: int | None, classes: Array | None, bent: bool = False) -> tuple[list[Trial], Pool]:
    """Return the trials of the recipes for a table, each with its share, and how their answers become one.

    With a validation set every network learns from all rows. The targets are bent where that helps or, where it is so
    settled, in any case.
    """
    n = len(learner.table)
    if n < 2 and learner.validation is None:
        raise DataError(f"X has n_samples={n}, too few to set any aside: name a solver, as solver='lbfgs'")
    count = min(max(parts or 0, ONE_IN) if learner.images is not None else parts or parts_of(n), n)
    folds = make_folds(originals(learner.table, learner.labels, classes), count, learner.seed, classes)
    if learner.validation is not None:
        given = learner.validation[0]

        def own(recipe: Recipe) -> Array:
            return learner.encode(given, recipe)

        folds = [Fold(np.arange(n), np.arange(0), own) for _ in range(count)]
    rows = len(folds[0].kept)

    recipes = learner.plan(folds[0], parts, bent)
    # A linear model is among them, as all is settled but for layers; and is what all are measured by, as it is best.
    among, bar = (
        [replace(linear(rows, learner.width, learner.problem, fixed), bend=recipes[0].bend)]
        if learner.images is None
        else []
        for fixed in (learner.fixed, {})
    )
    among = [] if {"hidden", "activation"} & set(learner.fixed) else among
    trials = learner.cross_fit([*recipes, *among], folds)
    ran = max((trial.folds for trial in trials), key=len, default=folds[:1])
    bars = trials if bar == among or learner.late() else learner.cross_fit(bar, ran)
    constant = learner.constant = learner.loss_of(ran, learner.constants(ran))
    straight = min((t.loss for t in bars if t.recipe in bar and len(t.folds) == len(ran)), default=np.inf)
    best = min((t.loss for t in trials if t.recipe not in among and len(t.folds) == len(ran)), default=np.inf)
    if not learner.late() and (best >= constant or best - straight > CLEARLY * abs(constant)):
        trials += learner.cross_fit(others(recipes, learner.fixed), folds)
    for trial in trials:
        trial.settle(learner.loss_of)
    if not any(np.isfinite(trial.loss) for trial in trials):
        raise FloatingPointError(
            f"no network learned anything finite. {learner.unsettle('look')} for outliers in the data, or scale it"
        )
    choice = choose_shares(trials, learner.loss_of, learner.problem.pool)
    learner.compare(choice, straight)
    # Asked again: it may be no more so at the best time.
    faults = [
        fault
        for trial in trials
        for network in trial.networks
        if trial.share and network in learner.idle
        for fault in learner.faults(trial.recipe, network)
    ]
    if faults and not unvaried(learner.table):
        learner.warnings.append(f"{faults[0]}. Leave activation, learning_rate_init and alpha to auto, or scale X")
    return trials, choice.pool

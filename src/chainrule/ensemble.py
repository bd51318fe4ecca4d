"""Several networks that answer together: cross-fitted, so that every row is once answered by networks that never saw it.

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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule.data import Array, DataError, Indices
from chainrule.functions import SMOOTHED, Objective, activate
from chainrule.generator import permutation
from chainrule.images import Augmentation, candidates
from chainrule.inputs import Inputs
from chainrule.network import Floats, Network
from chainrule.recipes import (
    FEWER,
    ONE_IN,
    PAIR,
    PARTS,
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

Doubles = npt.NDArray[np.float64]

FOLDS = 1 << 41  # the random stream of folds: far from those of epochs and of splitting
ROUNDS = 20  # of choosing shares: each is a multiple of 1 / 20
GAIN = 1e-3  # by which a recipe's share must lower the loss, of itself
# A recipe whose loss for the m rows of the first fold is above the least by over 0.1 + 6/√m of that is not tried on others.
BEHIND, NOISE = 0.1, 6.0
CHANCE = 2.0  # rows' losses that the best of several is lower by, where there is nothing to learn
WORSE = 0.01  # of a constant answer's loss: by so much at least a loss is worse than a linear model's
SMALLEST = 1e-12  # probability whose logarithm is taken


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
    answers: Doubles


class Made(NamedTuple):
    """A trained network, and how it was on the way."""

    network: Network
    history: History
    checks: list[Check]


def make_folds(rows: int, count: int, seed: int, classes: Array | None = None) -> list[Fold]:
    """Return `count` folds whose parts set aside are all rows; of each class alike, where there are classes."""
    order = permutation(seed, FOLDS, rows)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    number = np.empty(rows, dtype=np.intp)
    number[order] = np.arange(rows) % count
    return [Fold(np.flatnonzero(number != k), np.flatnonzero(number == k)) for k in range(count)]


Judge = Callable[[list[Fold], Sequence[Floats]], float]  # the mean loss of answers for the rows of some folds


@dataclass
class Member:
    """A network, the number of bins it was given, and its share in the answer."""

    network: Network
    bins: int = 0
    share: float = 1.0


@dataclass(frozen=True)
class Pool:
    """How answers become one: the mean of their logarithms where they are probabilities (Bordley 1982), else of themselves.

    A mean of probabilities is less sure than any of them has reason to be. The temperature makes up for what is left of that,
    or of the contrary (Guo et al. 2017).
    """

    output: str = ""  # softmax or sigmoid, whose probabilities they are
    temperature: float = 1.0

    def open(self, z: Floats) -> Doubles:
        """Return what is averaged."""
        known = z.astype(np.float64)
        if not self.output:
            return known
        log = np.log(np.maximum(known, SMALLEST))
        return log - np.log(np.maximum(1 - known, SMALLEST)) if self.output == "sigmoid" else log

    def close(self, q: Floats) -> Floats:
        """Return the answer of a mean."""
        return activate(self.output, q.astype(np.float64) / self.temperature) if self.output else q


@dataclass
class Ensemble:
    """The inputs that were learned, and the networks, whose answers are averaged."""

    inputs: Inputs | None  # None: rows enter as they are
    members: list[Member]
    bends: Bends | None = None  # of the labels that were learned
    pool: Pool = field(default_factory=Pool)

    @property
    def alone(self) -> bool:
        """Whether it is one network that answers, as it is."""
        return len(self.members) == 1 and self.pool.temperature == 1

    def encode(self, table: Array, member: Member) -> Array:
        """Return what a member is given of the rows of a table."""
        if self.inputs is None:
            return table
        return self.inputs.encode(table, member.bins, member.network.dtype.name)

    def taught(self, labels: Floats) -> Floats:
        """Return labels as the networks learn them."""
        return labels if self.bends is None else self.bends.apply(labels.astype(np.float64))

    def straight(self, z: Floats) -> Floats:
        """Return what a network answers as labels."""
        return z if self.bends is None else self.bends.undo(z.astype(np.float64))

    def answer(self, table: Array, n_threads: int = 1) -> Floats:
        """Return the mean of the members' outputs for the rows of a table; (n, k)."""
        encoded: dict[tuple[int, str], Array] = {}
        total: Floats | None = None
        for member in self.members:
            kind = (member.bins, member.network.dtype.name)
            if kind not in encoded:
                encoded[kind] = self.encode(table, member)
            z = self.straight(member.network.predict(encoded[kind], n_threads=n_threads))
            if self.alone:
                return z
            part = member.share * self.pool.open(z)
            total = part if total is None else total + part
        assert total is not None
        return self.pool.close(total)


@dataclass
class Trial:
    """A recipe, the networks it has made, and what these answer for rows that they have not seen."""

    recipe: Recipe
    folds: list[Fold] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    answers: list[Doubles] = field(default_factory=list)
    loss: float = np.inf
    share: float = 0.0

    @property
    def networks(self) -> list[Network]:
        """Its networks, one a fold."""
        return [made.network for made in self.made]

    @property
    def evidence(self) -> float | None:
        """The log of the evidence for the first fold's rows, of a bayesian recipe."""
        heard = self.made[0].history.evidence if self.made else None
        return None if heard is None else heard.log

    def judge(self, loss_of: Judge) -> int:
        """Find the time at which all its networks together answered best.

        One time for all: the best of each for its own few rows would be chosen by their noise, and seem better than it is.
        """
        checks = range(min(len(made.checks) for made in self.made))
        losses = [loss_of(self.folds, [made.checks[c].answers for made in self.made]) for c in checks]
        best = int(np.argmin([loss if np.isfinite(loss) else np.inf for loss in losses]))
        self.loss = losses[best]
        return best

    def settle(self, loss_of: Judge) -> None:
        """Let all its networks be as they were at that time."""
        best = self.judge(loss_of)
        for network, history, at in self.made:
            self.answers.append(at[best].answers)
            network.parameters = at[best].parameters
            history.best_epoch = at[best].epoch
            at.clear()


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
    deadline: float = np.inf
    report: Callable[[str], None] | None = None
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.encoded: dict[tuple[int, bool], Array] = {}
        self.bent = None if self.bends is None else self.bends.apply(self.labels.astype(np.float64))
        self.known: dict[tuple[Recipe, int], Made] = {}  # trained already
        self.warnings: list[str] = []  # what is to be said of what was learned
        self.own_rows = 0  # of a validation set of the user's own

    def rows(self, recipe: Recipe) -> Array:
        """Return the encoded rows, made once for each number of bins."""
        kind = (recipe.bins, recipe.bayesian)
        if kind not in self.encoded:
            self.encoded[kind] = self.encode(self.table, recipe)
        return self.encoded[kind]

    def encode(self, table: Array, recipe: Recipe) -> Array:
        """Return what a recipe's networks are given of a table."""
        if self.inputs is None:
            return table
        return self.inputs.encode(table, recipe.bins, "float64" if recipe.bayesian else self.problem.dtype)

    def signs(self, recipe: Recipe) -> list[int] | None:
        """Return the sign of each input, where answers may only rise or only fall."""
        if self.monotone is None or self.inputs is None:
            return self.monotone
        return self.inputs.signs(self.monotone, recipe.bins)

    def late(self) -> bool:
        """Whether training is to end: time is up, or Ctrl-C was pressed."""
        return self.stopped.is_set() or time.perf_counter() > self.deadline

    def fit_member(self, recipe: Recipe, fold: Fold, number: int, threads: int = 1) -> Made:
        """Train one network on a fold's rows, and let it answer for the others."""
        X, seed = self.rows(recipe), (self.seed + 1_000_003 * number) % 2**63
        network = self.problem.network(recipe, X.shape[1], seed)

        others = X[fold.aside] if fold.own is None else fold.own(recipe)
        weight = None if self.weight is None else self.weight[fold.kept]
        checks: list[Check] = []

        labels = self.labels
        if recipe.bend and self.bent is not None:
            labels = self.bent

        def check(history: History) -> None:
            answers = network.predict(others, n_threads=threads).astype(np.float64)
            if recipe.bend and self.bends is not None:
                answers = self.bends.undo(answers)
            checks.append(Check(history.epochs, network.parameters.copy(), answers))

        def look(history: History) -> bool:
            if not recipe.bayesian:
                check(history)
            return self.late()

        if not recipe.bayesian and not recipe.bend:
            self.problem.begin(network, labels[fold.kept])
        history = self.problem.train(
            network,
            recipe,
            X[fold.kept],
            labels[fold.kept],
            weight if weight is not None and weight.any() else None,
            seed,
            None if self.inputs is None else self.inputs.groups(recipe.bins),
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
        """Train many networks, one a core; None where training diverged, or was not begun before time was up."""
        done = iter(range(1, len(jobs) + 1))
        threads = max(1, self.n_threads // max(len(jobs), 1))

        def run(job: tuple[Recipe, Fold, int]) -> Made | None:
            recipe, _, number = job
            if (recipe, number) in self.known:
                return self.known.pop((recipe, number))
            if self.late() and number > 0:
                return None
            made = None
            for rate in (recipe.learning_rate, recipe.learning_rate / 10):
                with contextlib.suppress(FloatingPointError):
                    made = self.fit_member(replace(recipe, learning_rate=rate), *job[1:], threads)
                if made is not None or "learning_rate" in self.fixed:
                    break
            if self.report is not None:
                self.report(f"{next(done)}/{len(jobs)}  {recipe}" + ("" if made else ": diverged"))
            return made

        for recipe, _, _ in jobs:
            self.rows(recipe)  # before threads ask for it
        if self.n_threads == 1 or len(jobs) <= 1:
            return [run(job) for job in jobs]
        with ThreadPoolExecutor(min(self.n_threads, len(jobs))) as pool:
            running = [pool.submit(run, job) for job in jobs]
            try:
                wait(running)
            except KeyboardInterrupt:  # what was learned is kept
                self.stopped.set()
            return [future.result() for future in running]

    def plan(self, fold: Fold, parts: int | None, bent: bool, loss_of: Judge) -> list[Recipe]:
        """Return the recipes for what is to be learned, as short trainings on a fold have them."""
        rows = len(fold.kept)
        if self.images is not None:
            recipe = replace(by_images(rows), parts=parts or PAIR, **self.fixed)
            choose = "augment" not in self.fixed
            return [self.choose_augmentation(recipe, fold, candidates(self.images), loss_of) if choose else recipe]
        batches = by_batches(rows, self.inputs is not None, self.monotone is not None)
        recipes = list(dict.fromkeys(replace(recipe, **self.fixed) for recipe in batches))
        if self.bends is not None and (bent or self.better_bent(recipes, fold, loss_of)):
            recipes = [replace(recipe, bend=str(self.bends)) for recipe in recipes]
        if self.inputs is not None:
            heard = by_evidence(rows, self.inputs.width(), self.problem, self.fixed)
            heard = [replace(recipe, bend=recipes[0].bend) for recipe in heard]
            recipes += self.choose_width(heard, fold) if len(heard) > 1 else heard
        return recipes

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

    def better_bent(self, recipes: list[Recipe], fold: Fold, loss_of: Judge) -> bool:
        """Whether the recipes learn better where the targets are bent: together, for the first fold's rows."""
        jobs = [
            (recipe, fold, 0) for straight in recipes for recipe in (straight, replace(straight, bend=str(self.bends)))
        ]
        gain = 0.0
        for (recipe, _, _), made in zip(jobs, self.all_of(jobs), strict=True):
            losses = [loss_of([fold], [check.answers]) for check in made.checks] if made else []
            lowest = min((loss for loss in losses if np.isfinite(loss)), default=np.finfo(float).max)
            gain += (-1 if recipe.bend else 1) * math.log(max(lowest, SMALLEST))
            if made is not None:
                self.known[recipe, 0] = made
        return gain > 0

    def loss_of_constant(self, folds: list[Fold], loss_of: Judge) -> float:
        """Return the loss of answers that do not look at the inputs."""
        answers = []
        for fold in folds:
            weight = None if self.weight is None else self.weight[fold.kept]
            z = self.problem.constant(self.labels[fold.kept], weight)
            answers.append(np.repeat(z, len(fold.aside) or self.own_rows, axis=0))
        return loss_of(folds, answers)

    def compare(self, loss: float, constant: float, linear: float) -> None:
        """Say what the ensemble's loss is no better than, if nothing has cut the training short."""
        if self.late():
            return
        if loss >= constant - max(GAIN, CHANCE / len(self.labels)) * abs(constant):
            self.warnings.append(
                f"no network found in X what y depends on: on rows not learned from the mean loss is {loss:.4g}, that of a "
                f"constant answer {constant:.4g}. Look whether the rows of X and y belong together, or get more of them, or "
                f"other columns"
            )
        elif loss - linear > WORSE * abs(constant):
            self.warnings.append(
                f"the networks are worse than a linear model: on rows not learned from their mean loss is {loss:.4g}, "
                f"its own {linear:.4g}. Leave hidden_layer_sizes, and what else was settled, to auto"
            )

    def choose_augmentation(
        self, recipe: Recipe, fold: Fold, candidates: list[Augmentation | None], loss_of: Judge
    ) -> Recipe:
        """Return the recipe with what may be done to images: what it is best to do with some in a short training."""
        few = replace(fold, kept=fold.kept[:: -(-len(fold.kept) // TRIED)], aside=fold.aside[:TRIED])
        short = to_try(recipe, len(few.kept))
        jobs = [(replace(short, augment=augment), few, 0) for augment in candidates]
        losses = []
        for made in self.all_of(jobs):
            loss = np.inf if made is None else loss_of([few], [made.checks[-1].answers])
            losses.append(loss if np.isfinite(loss) else np.inf)
        return replace(recipe, augment=candidates[int(np.argmin(losses))])

    def cross_fit(self, recipes: list[Recipe], folds: list[Fold], loss_of: Judge) -> list[Trial]:
        """Train a network of each recipe for each fold; for the first alone of a recipe that is far behind there.

        Of the bayesian ones that of the larger evidence goes on.
        """
        trials = {recipe: Trial(recipe) for recipe in recipes}
        for some in (folds[:1], folds[1:]) if len(recipes) > 1 else (folds,):
            lowest = min((trial.loss for trial in trials.values()), default=np.inf)
            most = lowest + (BEHIND + NOISE / math.sqrt(max(len(folds[0].aside), 1))) * abs(lowest) + SMALLEST
            jobs = [
                (recipe, fold, folds.index(fold))
                for fold in some
                for recipe, trial in trials.items()
                if folds.index(fold) < recipe.parts and (not trial.made or trial.loss <= most)
            ]
            for (recipe, fold, _), made in zip(jobs, self.all_of(jobs), strict=True):
                if made is not None:
                    trials[recipe].folds.append(fold)
                    trials[recipe].made.append(made)
            for trial in trials.values():
                if trial.made:
                    trial.judge(loss_of)
            heard = [trial for trial in trials.values() if trial.evidence is not None and trial.recipe.hidden]
            for trial in sorted(heard, key=lambda trial: -(trial.evidence or 0))[1:]:
                del trials[trial.recipe]
        return [trial for trial in trials.values() if trial.made]


def mean_loss(problem: Problem, Z: Floats, labels: Floats, weight: Doubles | None) -> float:
    """Mean loss of answers z (n, k), whose q is found from them."""
    if problem.loss in ("cross_entropy", "poisson"):
        q = np.log(np.maximum(Z, SMALLEST))
    elif problem.loss == "binary_cross_entropy":
        q = np.log(np.clip(Z, SMALLEST, 1)) - np.log(np.clip(1 - Z, SMALLEST, 1))
    else:
        q = Z
    constants = {"huber": "delta", "quantile": "quantile"}
    name = constants.get(problem.loss)
    aim = Objective(problem.loss, (problem.constants[name],) * Z.shape[1] if name else ())
    each = aim.value(q.astype(np.float64), Z.astype(np.float64), labels.astype(np.float64))
    return float(np.cumsum(each if weight is None else each * weight)[-1]) / len(each)


def choose_shares(trials: list[Trial], loss_of: Judge, pool: Pool) -> tuple[float, Pool]:
    """Give each trial its share: one more part, again and again, to the one that lowers the loss most (Caruana 2004).

    Returns the loss of all together, and their pool, with the temperature at which it is least.
    """
    finite = [k for k, trial in enumerate(trials) if np.isfinite(trial.loss)]
    if not finite:
        raise FloatingPointError("no network learned anything finite; look for outliers in the data, or scale it")
    most = max(len(trials[k].folds) for k in finite)
    able = [k for k in finite if 2 * len(trials[k].folds) >= most]
    folds = [
        fold for fold in trials[able[0]].folds if all(fold in trials[k].folds for k in able)
    ]  # judged by the same rows
    answers = {
        k: [pool.open(z) for fold, z in zip(trials[k].folds, trials[k].answers, strict=True) if fold in folds]
        for k in able
    }
    counts = dict.fromkeys(able, 0)
    total = [np.zeros_like(z) for z in answers[able[0]]]
    lowest, best = np.inf, dict(counts)
    for n in range(1, ROUNDS + 1):
        losses = [
            loss_of(folds, [pool.close((t + z) / n) for t, z in zip(total, answers[k], strict=True)]) for k in able
        ]
        chosen = able[int(np.argmin(losses))]
        counts[chosen] += 1
        total = [t + z for t, z in zip(total, answers[chosen], strict=True)]
        if n == 1 or min(losses) < lowest - GAIN * abs(lowest):
            lowest, best = min(losses), dict(counts)
    for k, count in best.items():
        trials[k].share = count / sum(best.values())
    if not pool.output:
        return lowest, pool
    mixed = [np.sum([trials[k].share * answers[k][f] for k in able], axis=0) for f in range(len(folds))]
    warmth = np.exp(np.linspace(-1, 1, 81))
    losses = [loss_of(folds, [Pool(pool.output, float(t)).close(q) for q in mixed]) for t in warmth]
    # A row is judged by the few networks that never saw it; all together are in less need of it.
    return lowest, Pool(pool.output, math.sqrt(float(warmth[int(np.argmin(losses))])))


def parts_of(rows: int) -> int:
    """Return into how many parts so many rows are divided."""
    return max(2, min(rows, PARTS if rows < 20_000 else FEWER))


def learn(
    learner: Learner,
    parts: int | None,
    classes: Array | None,
    validation: Examples | None,
    bent: bool = False,
) -> tuple[list[Trial], Pool]:
    """Return the trials of the recipes for a table, each with its share, and how their answers become one.

    With a validation set every network learns from all rows. The targets are bent where that helps or, where it is so
    settled, in any case.
    """
    n = len(learner.table)
    if n < 2 and validation is None:
        raise DataError(f"X has n_samples={n}, too few to set any aside: name a solver, as solver='lbfgs'")
    count = min(max(parts or 0, ONE_IN) if learner.images is not None else parts or parts_of(n), n)
    folds = make_folds(n, count, learner.seed, classes)
    if validation is not None:
        given = validation[0]
        learner.own_rows = len(given)

        def own(recipe: Recipe) -> Array:
            return learner.encode(given, recipe)

        folds = [Fold(np.arange(n), np.arange(0), own) for _ in range(count)]
    rows = len(folds[0].kept)

    def loss_of(ran_folds: list[Fold], answers: Sequence[Floats]) -> float:
        if validation is not None:
            return float(np.mean([mean_loss(learner.problem, z, validation[1], None) for z in answers]))
        ran = np.concatenate([fold.aside for fold in ran_folds])
        weight = None if learner.weight is None else learner.weight[ran]
        return mean_loss(learner.problem, np.concatenate(answers), learner.labels[ran], weight)

    recipes = learner.plan(folds[0], parts, bent, loss_of)
    plain = [] if learner.images is not None else [replace(linear(rows, learner.problem), bend=recipes[0].bend)]
    among = [] if learner.fixed else plain  # the linear model is not what the user has settled
    trials = learner.cross_fit([*recipes, *among], folds, loss_of)
    ran = max((trial.folds for trial in trials), key=len, default=folds[:1])
    bars = trials if among or learner.late() else learner.cross_fit(plain, ran, loss_of)
    constant = learner.loss_of_constant(ran, loss_of)
    straight = min((t.loss for t in bars if t.recipe in plain and len(t.folds) == len(ran)), default=np.inf)
    best = min((t.loss for t in trials if t.recipe not in plain and len(t.folds) == len(ran)), default=np.inf)
    if not learner.late() and (best >= constant or best - straight > WORSE * abs(constant)):
        trials += learner.cross_fit(others(recipes, learner.fixed), folds, loss_of)
    for trial in trials:
        trial.settle(loss_of)
    loss, pool = choose_shares(
        trials, loss_of, Pool(learner.problem.output if learner.problem.loss in SMOOTHED else "")
    )
    learner.compare(loss, constant, straight)
    return trials, pool

"""The trainer: trains the networks that are asked for, several at a time, each to be ready when time is up.

What diverges, or whose units say nothing, is tried again with smaller steps. What is learned is the same, on however many
threads: which is trained first, or ahead of the time, decides nothing.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from chainrule.auto.jobs import Job, work_off
from chainrule.auto.pace import MAY_TAKE, Clock, Pace, at_any_rate
from chainrule.auto.recipes import CHECKS, FIRST, Recipe, by_batches, start_of
from chainrule.auto.relevance import Relevance
from chainrule.auto.task import Task
from chainrule.auto.trials import Check, Fold, Made, Trial, mixed
from chainrule.data import Array, Indices
from chainrule.diagnosis import FORWARD, idle
from chainrule.network import Network
from chainrule.problem import SMALL
from chainrule.training import Callback, History

LONG = 20_000  # rows, from which on a large network takes longer than all short trainings of bayesian ones
SHARED = 128  # rows of a batch that several threads may well share
TIMED = 2048  # rows that show how long a training takes
HEAVY = 250_000_000  # numbers, of which one network at a time has a copy
SEEN, COUNT = 10, 4  # where rows are very many, so few are learned from that so many networks can see each so often
OF_ALL = 100  # the number of the first network of all rows: no other has it
OTHER_START = 1000  # the number of the next beginning of a network, from that of one: no others have these


@dataclass
class Trainer:
    """Trains networks for a task on so many threads, and remembers what it has trained."""

    task: Task
    n_threads: int = 1
    clock: Clock = field(default_factory=Clock)
    report: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        self.known: dict[tuple[Recipe, int], Made] = {}  # trained already
        # Once, ahead of the time: whether again is seen when that comes.
        self.tried: dict[tuple[Recipe, int], Made] = {}
        self.started: dict[tuple[Recipe, int], int] = {}  # which of several starts was best
        # Whose units said the same for every row when their training ended.
        self.idle: list[tuple[Recipe, Made]] = []
        self.in_vain: set[Recipe] = set()  # whose second try was no better
        self.relevance = Relevance()  # of the columns, to recipes that are given few

    # ---- one network ----

    def fit_member(self, recipe: Recipe, fold: Fold, number: int, threads: int = 1) -> Made:
        """Train one network on a fold's rows, and let it answer for the others."""
        task, pace, asked = self.task, self.clock.pace(recipe), recipe
        started, kept = time.perf_counter(), fold.kept[:: pace.one_in]
        recipe = self.given(recipe, fold, number, threads)
        network, recipe, history = self.begin(recipe, kept, number, threads)
        aside = task.rows(recipe, fold.aside) if fold.own is None else fold.own(recipe)
        checks: list[Check] = []

        def check(history: History) -> None:
            answers = task.problem.pool.ask(network, aside, threads)
            # As the network gave them: there may be very many.
            bends = task.bends if recipe.bend else None
            answers = answers.astype(network.dtype) if bends is None else bends.undo(answers)
            checks.append(Check(history.epochs, network.parameters.copy(), answers))

        def look(history: History) -> bool:
            if not recipe.bayesian:
                check(history)
            return self.clock.late()

        ended = history is not None  # with its start
        if history is None:
            history = self.train(network, replace(recipe, epochs=pace.epochs), kept, number, look, threads)
        self.clock.took[asked] = (time.perf_counter() - started) * threads
        if not checks:
            check(history)
        whole = not ended and (history.epochs == pace.epochs or history.ending not in ("stopped", "interrupted"))
        if not whole or pace != Pace(recipe.epochs):
            self.clock.hurried = True
        return Made(network, history, checks, whole, recipe.form)

    def begin(self, recipe: Recipe, kept: Indices, number: int, threads: int) -> tuple[Network, Recipe, History | None]:
        """Return a network as a recipe begins with it: of several that whose evidence is the largest after some steps.

        Where rows are few, most that begin end in a poor minimum, and the evidence says which do not. If time is up in the
        midst of it, it is the best so far, and there is a history: it is not to be trained any further.
        """
        asked = replace(recipe, epochs=min(FIRST, recipe.epochs)), number
        if recipe.starts > 1 and asked not in self.started:
            begun: dict[int, tuple[Network, Recipe, History]] = {}

            def log(k: int) -> float:
                evidence = begun[k][2].evidence
                return -np.inf if evidence is None else evidence.log

            for k in range(recipe.starts):
                start, short = number + k * OTHER_START, start_of(asked[0], k)
                with contextlib.suppress(FloatingPointError):
                    network = self.task.begin(short, kept, start)
                    history = self.train(network, short, kept, start, lambda _: self.clock.late(), threads)
                    begun[k] = network, short, history
                if self.clock.late() and begun:
                    return begun[max(begun, key=log)]
            self.started[asked] = max(begun, key=log, default=0)
        best = self.started.get(asked, 0)
        return self.task.begin(recipe, kept, number + best * OTHER_START), start_of(recipe, best), None

    def train(
        self, network: Network, recipe: Recipe, kept: Indices, number: int, look: Callback, threads: int
    ) -> History:
        """Train a network as a recipe says, on some of the rows."""
        history = self.task.train(network, recipe, kept, number, look, threads)
        if history.ending == "interrupted":  # the training took Ctrl-C for itself: no other is to begin
            self.clock.stopped.set()
        return history

    def given(self, recipe: Recipe, fold: Fold, number: int = 0, threads: int = 1) -> Recipe:
        """Return a recipe of few columns with those that say most in a fold."""
        if not recipe.few:
            return recipe
        with self.relevance.looking:
            if not self.relevance.has(fold):
                self.look_at_columns(fold, self.train_one(self.relevance.scout, fold, number, threads)[0])
        return self.relevance.given(recipe, fold)

    def look_at_columns(self, fold: Fold, made: Made | None) -> None:
        """Note what each column says in a fold to a network of the scout; if that diverged, that all say as much."""
        self.relevance.look(self.task, fold, None if made is None else made.network, self.n_threads)

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
        again_too = stuck and recipe not in self.in_vain and not self.clock.too_long(recipe, threads)
        if (made is None or again_too) and "learning_rate" not in self.task.fixed:
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
            trial.judge(self.task.loss_of)
        return second if trials[1].loss < trials[0].loss and not self.clock.late() else first

    def faults(self, recipe: Recipe, made: Made) -> list[str]:
        """Return what is to be said of a network's idle units; the evidence may well have found that few are needed."""
        if recipe.bayesian or self.clock.late() or self.clock.hurried:
            return []
        some = slice(None, None, -(-len(self.task.table) // FORWARD))
        return idle(made.network, self.task.rows(replace(recipe, form=made.form), some))

    # ---- many ----

    def all_of(self, jobs: Sequence[Job], ahead: Sequence[Job] = (), part: float = MAY_TAKE) -> list[Made | None]:
        """Train many networks, one a core; None where training diverged, or was not begun before time was up.

        Those of very large tables are trained one after the other, by all cores, and before the others long ones that would
        leave cores idle in the end. What is likely to come next is trained ahead, by cores that have nothing else to do.
        Where time is limited, first networks are to take no more than a part of what is left, and costly ones come last.
        """
        clock, early = self.clock, frozenset(ahead)
        trained: dict[Job, Made | None] = {}
        in_vain: list[Recipe] = []

        def run(job: Job, threads: int) -> Made | None:
            recipe, fold, number = job
            if (recipe, number) in self.known:
                return self.known.pop((recipe, number))
            before = (recipe, number) in self.tried  # it was said then
            late = not before and (clock.late() or clock.too_long(recipe, threads))
            if late and (number > 0 or any(trained.values())):
                clock.hurried = True
                return None
            if job in early:
                made = self.try_once(recipe, fold, number, threads)
            else:
                made, vain = self.train_one(recipe, fold, number, threads)
                if vain:
                    in_vain.append(recipe)
            if self.report is not None and not before:
                seconds = time.perf_counter() - clock.began
                of, which = (" of all rows", number - OF_ALL) if number >= OF_ALL else ("", number)
                self.report(f"{seconds:7.1f} s  {recipe}{of}, network {which + 1}" + ("" if made else ": diverged"))
            return made

        if not clock.limited:  # else one is looked at when its turn has come
            scouts = {
                fold: (self.relevance.scout, fold, number) for recipe, fold, number in (*jobs, *ahead) if recipe.few
            }
            scouts = {fold: job for fold, job in scouts.items() if not self.relevance.has(fold)}
            for fold, made in zip(scouts, self.all_of([*scouts.values()]) if scouts else (), strict=True):
                self.look_at_columns(fold, made)
        for recipe, _, _ in jobs:
            if not recipe.few:
                self.task.rows(recipe, slice(0))  # before threads ask for it
        held = {*self.known, *self.tried}
        new = [job for job in jobs if (job[0], job[2]) not in held]
        self.set_paces(new, part)
        heavy = [job for job in jobs if self.heavy(job[0])]
        ahead = [job for job in ahead if not self.heavy(job[0]) and (job[0], job[2]) not in held]
        first = [] if ahead or clock.limited else [job for job in self.by_all_cores(new) if job not in heavy]
        rest = [job for job in jobs if job not in first and job not in heavy]
        rest.sort(key=lambda job: job[0].costly == clock.limited)

        for some, beside in (*(([job], ()) for job in heavy), (first, ()), (rest, ahead)):
            work_off(some, beside, self.n_threads, run, trained, clock.stopped)
        for recipe, fold, number in ahead:
            if (made := trained.get((recipe, fold, number))) is not None:
                self.tried[recipe, number] = made
        self.in_vain.update(in_vain)  # for the next jobs: among these the order is by chance
        return [trained[job] for job in jobs]

    def heavy(self, recipe: Recipe) -> bool:
        """Whether what a network is given is so large that there had better be one at a time: each has a copy of its rows."""
        return len(self.task.table) * self.task.width_of(recipe) > HEAVY

    def by_all_cores(self, jobs: list[Job]) -> list[Job]:
        """Return those of long trainings that would leave cores idle, each on one, in the end."""
        large = [job for job in jobs if job[0].hidden and not job[0].bayesian and job[0].batch_size >= SHARED]
        longest = len(large) == len(jobs) or len(self.task.table) >= LONG  # else others take the other cores as long
        long = [job for job in jobs if job[0].costly or (longest and job in large)]
        return long[: len(long) % self.n_threads]

    # ---- where time is limited ----

    def set_paces(self, jobs: Sequence[Job], part: float) -> None:
        """Let networks have as many epochs, and rows, as a part of the time left allows, if it is limited."""
        if not self.clock.limited or "epochs" in self.task.fixed:
            return
        folds = {at_any_rate(recipe): fold for recipe, fold, _ in jobs if not recipe.bayesian}
        folds = {recipe: fold for recipe, fold in folds.items() if recipe not in self.clock.paces}
        threads = max(1, self.n_threads // max(len(jobs), 1))
        seconds = {recipe: recipe.epochs * self.epoch_of(recipe, fold, threads) for recipe, fold in folds.items()}
        rows = min((len(fold.kept) for fold in folds.values()), default=0)
        self.clock.share(part, seconds, self.n_threads, max(1, rows // TIMED))

    def epoch_of(self, recipe: Recipe, fold: Fold, threads: int) -> float:
        """Return how many seconds an epoch takes, by two of some rows: the first begins with what no cache holds yet."""
        if self.clock.late():
            return np.inf
        some = fold.kept[:: -(-len(fold.kept) // TIMED)]
        short = replace(recipe, epochs=2, learning_rate=SMALL)
        with warnings.catch_warnings(), contextlib.suppress(FloatingPointError):
            warnings.simplefilter("ignore", UserWarning)  # that this is interrupted; what follows will say so
            short = self.given(short, fold)
            network = self.task.begin(short, some, 0)
            seconds = self.train(network, short, some, 0, lambda _: self.clock.late(), threads).seconds
            # Answers take a third of training.
            looked_at = self.task.judged_by(fold) * min(1.0, CHECKS / recipe.epochs) / 3
            return max(min(seconds, default=np.inf), SMALL) * (len(fold.kept) + looked_at) / len(some)
        return SMALL

    def take_fewer(self, classes: Array | None) -> None:
        """Let one row in some be the task's, of each class alike, where time is limited: of too many little would be learned.

        What each row costs is seen by some of them.
        """
        task, clock, n = self.task, self.clock, len(self.task.table)
        if not clock.limited or "epochs" in task.fixed or task.inputs is None or n <= TIMED:
            return
        order = mixed(n, task.seed, classes)
        few = Trainer(task.part(order[:: -(-n // TIMED)]), self.n_threads, clock)
        recipes = by_batches(n, task.inputs, task.problem, task.fixed)
        recipe = max(recipes, key=lambda recipe: few.task.begin(recipe, np.arange(1), 0).parameters.size)
        started, rows = time.perf_counter(), len(few.task.table)
        few.task.rows(recipe, slice(0))
        encoded = time.perf_counter()
        epoch = few.epoch_of(recipe, Fold(np.arange(rows), np.arange(0)), 1)
        each = (encoded - started + COUNT * SEEN * epoch / self.n_threads) / rows
        one_in = math.ceil(min(n * each / (MAY_TAKE * clock.left()), n / TIMED))
        if one_in > 1:
            self.task = task.part(np.sort(order[::one_in]))
            clock.one_in, clock.hurried = one_in, True

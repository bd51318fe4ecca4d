"""Learns an ensemble: cross-fitted, so that every row is once answered by networks that never saw it.

Each recipe trains one network for each fold, on the other rows. What these answer for the rows of their folds judges the
recipe by all rows, sets its share in the ensemble, and says how good that will be on new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from chainrule.auto.jobs import Job
from chainrule.auto.planning import Plan, plan
from chainrule.auto.recipes import FEW_ROWS, Recipe, linear, others
from chainrule.auto.task import Task
from chainrule.auto.trainer import OF_ALL, Trainer
from chainrule.auto.trials import BEHIND, Check, Choice, Fold, Made, Trial, behind, choose_shares, less
from chainrule.data import Array
from chainrule.diagnosis import CLEARLY, Answers, Remedies, gross, learned, no_better, unvaried
from chainrule.ensemble import Pool
from chainrule.network import Network
from chainrule.problem import SMALL
from chainrule.training import History

# A bayesian network's evidence below the middle of those of its recipe, in nats a label: one that fits by a third less. So
# often others are then begun in its place.
ASTRAY, STARTS = 0.2, 2
LAYERS = {"hidden", "activation"}  # of a recipe
INVERTIBLE = ("identity", "sigmoid", "softmax", "softplus", "exp")  # outputs that can be any constant


@dataclass
class Learner:
    """Learns an ensemble for a trainer's task: which recipes, and how much of each. And what is to be said of it."""

    trainer: Trainer
    remedies: Remedies = field(default_factory=Remedies)  # against what the user has settled
    warnings: list[str] = field(default_factory=list)
    constant: float = np.inf  # the loss of a constant answer,
    loss: float = np.inf  # and of all together

    @property
    def task(self) -> Task:
        """What is to be learned."""
        return self.trainer.task

    def learn(self, parts: int | None, classes: Array | None, bent: bool = False) -> tuple[list[Trial], Pool]:
        """Return the trials of the recipes for a table, each with its share, and how their answers become one.

        With a validation set every network learns from all rows. The targets are bent where that helps or, where it is so
        settled, in any case.
        """
        task, clock = self.task, self.trainer.clock
        folds = task.folds(parts, classes)
        trials, linear = self.compare(plan(self.trainer, folds, parts, bent), folds)
        for trial in trials:
            trial.settle(task.loss_of)
        if not any(np.isfinite(trial.loss) for trial in trials):
            raise FloatingPointError(
                f"no network learned anything finite. {self.remedies.before('look')} for outliers in the data, or scale it"
            )
        choice = choose_shares(trials, task.loss_of, task.problem.pool)
        # As one of several a constant would shrink the answers by what a network alone is too sure of, not all together.
        nothing = not learned(choice.loss, self.constant, len(task.labels))
        if nothing and task.problem.output in INVERTIBLE and not LAYERS & set(task.fixed):
            trials.append(self.constant_trial(choice.folds, trials[0].recipe.bend))
            trials[-1].settle(task.loss_of)
            choice = choose_shares(trials, task.loss_of, task.problem.pool)
        self.loss = choice.loss
        used = [trial for trial in trials if trial.share]
        hurried, cut = clock.hurried, clock.late() or clock.hurried
        for trial in used:
            self.learn_all(trial)
        clock.hurried = hurried  # where there was no time for that, nothing is missing
        if clock.hurried and not clock.stopped.is_set() and self.constant - self.loss <= CLEARLY * abs(self.constant):
            self.warnings.append(
                "nothing was learned in the time that time_limit allows: set it higher, or leave it out"
            )
        if not cut:
            self.flatten(used, self.look_at_answers(choice, linear))
        self.look_for_idle([network for trial in used for network in trial.networks], choice.loss < linear)
        return trials, choice.pool.after(*task.labels.shape)

    # ---- which recipes ----

    def compare(self, plan: Plan, folds: list[Fold]) -> tuple[list[Trial], float]:
        """Return the trials of a plan, of a linear model and, where these learn nothing, of other recipes; and its loss.

        As one of the trials the linear model is as the user has settled it, but for layers; its loss, by which all are
        measured, is that at its best.
        """
        task, rows, bend = self.task, len(folds[0].kept), plan.recipes[0].bend
        fews = sorted({recipe.few for recipe in plan.recipes} - {0})
        bars: list[Recipe] = []
        among: list[Recipe] = []
        if task.images is None:
            bars = [replace(linear(rows, task.width, task.problem, {}), bend=bend)]
            if not LAYERS & set(task.fixed):
                among = [replace(linear(rows, task.width, task.problem, task.fixed), bend=bend)]
                # And of few columns, where others are given few.
                among += [replace(linear(rows, few, task.problem, task.fixed), bend=bend, few=few) for few in fews]
        trials = self.cross_fit(replace(plan, recipes=[*plan.recipes, *among]), folds)
        # Losses for other rows than these say nothing beside them.
        ran = max((trial.folds for trial in trials), key=len, default=folds[:1])
        late = self.trainer.clock.late
        measured = trials if bars == among or late() else self.cross_fit(Plan(bars), ran)
        straight = min((t.loss for t in measured if t.recipe in bars and t.folds == ran), default=np.inf)
        best = min((t.loss for t in trials if t.recipe not in among and t.folds == ran), default=np.inf)
        self.constant = task.loss_of(ran, task.constants(ran))
        if not late() and (best >= self.constant or best - straight > CLEARLY * abs(self.constant)):
            trials += self.cross_fit(Plan(others(plan.recipes, task.fixed)), folds)
        return trials, straight

    def cross_fit(self, plan: Plan, folds: list[Fold]) -> list[Trial]:
        """Train a network of each recipe for each fold; for the first alone of a recipe that is far behind there.

        Of the bayesian ones that of the larger evidence goes on.
        """
        task = self.task
        trials = {recipe: Trial(recipe) for recipe in plan.recipes}

        def run(jobs: list[Job], ahead: Sequence[Job] = ()) -> None:
            for (recipe, fold, _), made in zip(jobs, self.trainer.all_of(jobs, ahead), strict=True):
                if made is not None:
                    trials[recipe].folds.append(fold)
                    trials[recipe].made.append(made)
            for trial in trials.values():
                if trial.made:
                    trial.sort(folds)
                    trial.drop_unfinished()
                    trial.judge(task.loss_of)

        judged = task.judged_by(folds[0])
        for some in (folds[:1], folds[1:]) if len(plan.recipes) > 1 else (folds,):
            lowest = min((trial.loss for trial in trials.values()), default=np.inf)
            jobs = [
                (recipe, fold, folds.index(fold))
                for fold in some
                for recipe, trial in trials.items()
                if folds.index(fold) < recipe.parts
                and (not trial.made or trial.loss - lowest <= margin_of(recipe, judged) * abs(lowest) + SMALL)
            ]
            run(jobs, plan.likely(folds) if len(some) < len(folds) and folds[0] in some else ())
            heard = [trial for trial in trials.values() if trial.evidence is not None and trial.recipe.hidden]
            for trial in sorted(heard, key=lambda trial: -(trial.evidence or 0))[1:]:
                del trials[trial.recipe]
        for trial in trials.values():
            self.start_again(trial)
        # What was best for the first fold may not be so for the others: then what fell behind there is tried after all.
        lowest = min((trial.loss for trial in trials.values() if len(trial.made) > 1), default=np.inf)
        after_all = [
            t for t in trials.values() if len(t.made) == 1 and lowest < np.inf and less(t.loss, lowest, behind(judged))
        ]
        rest = [
            (t.recipe, folds[k], k)
            for t in after_all
            for k in range(min(len(folds), t.recipe.parts))
            if folds[k] not in t.folds
        ]
        if rest:
            run(rest)
        return [trial for trial in trials.values() if trial.made]

    def start_again(self, trial: Trial) -> None:
        """Let networks that went astray, known by an evidence far below the others', begin from other weights."""
        for start in range(1, STARTS + 1) if trial.recipe.hidden else ():
            logs = [made.history.evidence.log for made in trial.made if made.history.evidence]
            if not logs or len(logs) < len(trial.made) or self.trainer.clock.late():
                return
            wrong = astray(logs, [len(fold.kept) for fold in trial.folds], self.task.labels.shape[1])
            if not wrong:
                return
            jobs = [(trial.recipe, trial.folds[k], start * len(logs) + k) for k in wrong]
            for k, made in zip(wrong, self.trainer.all_of(jobs), strict=True):
                if made is not None and made.history.evidence and made.history.evidence.log > logs[k]:
                    trial.made[k] = made
            trial.judge(self.task.loss_of)

    def learn_all(self, trial: Trial) -> None:
        """Let bayesian networks of few rows be trained on all of these: they need none set aside.

        What they answered as they were for each fold has judged them; by all rows they are better than that.
        """
        task = self.task
        able = trial.recipe.bayesian and trial.recipe.hidden and not trial.recipe.few and task.validation is None
        if not able or len(trial.folds[0].kept) > FEW_ROWS or self.trainer.clock.late():
            return
        whole = task.whole
        found = self.trainer.all_of([(trial.recipe, whole, OF_ALL + k) for k in range(len(trial.made))])
        made = [one for one in found if one is not None and one.history.evidence is not None]
        if len(made) < len(trial.made) or self.trainer.clock.late():
            return
        logs = [one.history.evidence.log if one.history.evidence else -np.inf for one in made]
        wrong = astray(logs, [len(task.table)] * len(logs), task.labels.shape[1])
        trial.made = [one for k, one in enumerate(made) if k not in wrong]
        for one in trial.made:
            one.history.best_epoch, one.history.validation = one.history.epochs, trial.losses
        trial.of_all = True

    def constant_trial(self, folds: list[Fold], bend: str) -> Trial:
        """Return networks that answer a constant."""
        task, trial = self.task, Trial(Recipe("", (), "identity", bend=bend), folds)
        for answers in task.constants(folds):
            network = task.problem.flat(task.as_taught(answers[:1], trial.recipe)[0], task.width)
            trial.made.append(Made(network, History(), [Check(0, network.parameters.copy(), answers)]))
        return trial

    # ---- what is to be said of them ----

    def look_at_answers(self, choice: Choice, linear: float) -> list[int]:
        """Say what all together are no better than; return the outputs, of several, that are worse than a constant."""
        task = self.task
        pairs = Answers(choice.answers, task.constants(choice.folds), partial(task.loss_of, choice.folds))
        said, worse = no_better(pairs, task.problem, task.table, task.labels, linear, self.remedies)
        plain = task.problem.squares and task.problem.output == "identity" and task.validation is None
        if not said and plain:
            rows = np.concatenate([fold.aside for fold in choice.folds])
            said = gross(np.concatenate(choice.answers), task.labels, rows)
        self.warnings += said
        return worse

    def flatten(self, trials: list[Trial], outputs: list[int]) -> None:
        """Let some outputs be a constant: that of the rows which each network learned from."""
        problem = self.task.problem
        possible = outputs and problem.loss != "gaussian" and problem.output in INVERTIBLE
        for trial in trials if possible else ():
            folds = [self.task.whole] * len(trial.made) if trial.of_all else trial.folds
            for network, z in zip(trial.networks, self.task.constants(folds), strict=True):
                problem.flatten(network, self.task.as_taught(z[:1], trial.recipe)[0], outputs)

    def look_for_idle(self, networks: list[Network], better: bool) -> None:
        """Say what there is against networks that were idle when their training ended: at the best time they may not be.

        Nothing, where they were settled by nobody and are better than a linear model all the same: the others do the work.
        """
        if better and not self.remedies.settled:
            return
        faults = [
            fault
            for network in networks
            for recipe, made in self.trainer.idle
            if made.network is network
            for fault in self.trainer.faults(recipe, made)
        ]
        if faults and not unvaried(self.task.table):
            self.warnings.append(f"{faults[0]}. {self.remedies.before('look')} for outliers in X and y")


def margin_of(recipe: Recipe, rows: int) -> float:
    """Return the share of the least loss by which a recipe's may be above it, judged by so many rows."""
    return BEHIND if recipe.costly else behind(rows)


def astray(logs: list[float], rows: list[int], labels: int) -> list[int]:
    """Return which of some evidences, each of so many rows, are far below the middle one."""
    heard = [log / n for log, n in zip(logs, rows, strict=True)]
    below = np.median(heard) - ASTRAY * labels
    return [k for k, log in enumerate(heard) if log < below]

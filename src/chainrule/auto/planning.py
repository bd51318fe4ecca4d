"""The plan: which recipes are worth a whole training, as short ones on the first fold have it.

Of which columns, of which widths, of bent targets or not, with what done to images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from chainrule.auto.jobs import Job
from chainrule.auto.pace import TO_CHOOSE
from chainrule.auto.recipes import (
    LEADING,
    PAIR,
    TRIAL,
    TRIED,
    WIDER,
    Recipe,
    by_batches,
    by_evidence,
    by_images,
    to_try,
)
from chainrule.auto.relevance import MANY
from chainrule.auto.trainer import Trainer
from chainrule.auto.trials import BEHIND, Fold, Made, Trial, behind, less
from chainrule.images import Augmentation, candidates
from chainrule.inputs import Form

HOPELESS = 2.0  # times another's loss, that of a way after short trainings
BEGUN = 2  # networks of each width, where a recipe does not begin with several itself
SCOUT = 0.25  # of the epochs: a training that shows which columns say most


@dataclass
class Plan:
    """The recipes that are to be cross-fitted, and those of them that are dear and promise most."""

    recipes: list[Recipe]
    ahead: list[Recipe] = field(default_factory=list)  # in a short training they were better than those of mini-batches

    def likely(self, folds: Sequence[Fold]) -> list[Job]:
        """Return what is likely to be trained after the first fold: one recipe on the others."""
        large = [recipe for recipe in self.recipes if not recipe.bayesian and recipe.hidden]
        first = next((recipe for recipe in [*self.ahead, *large] if recipe in self.recipes), None)
        return [] if first is None else [(first, fold, k) for k, fold in enumerate(folds) if 0 < k < first.parts]


def plan(trainer: Trainer, folds: list[Fold], parts: int | None, bent: bool) -> Plan:
    """Return the recipes for what is to be learned; its targets are bent where that helps or, if so settled, in any case."""
    task, fold, rows = trainer.task, folds[0], len(folds[0].kept)
    if task.images is not None:
        recipe = replace(by_images(rows, task.table.shape[1]), parts=parts or PAIR, **task.fixed)
        choose = "augment" not in task.fixed
        return Plan([choose_augmentation(trainer, recipe, fold, candidates(task.images)) if choose else recipe])
    given = [()] if task.inputs is None else choose_columns(trainer, fold)
    batches = [r for columns in given for r in by_batches(rows, task.inputs, task.problem, task.fixed, columns)]
    heard: list[Recipe] = []
    if task.inputs is not None:
        width = task.inputs.width(Form(columns=given[0]))
        heard = by_evidence(rows, width, task.problem, task.fixed, len(given[0]))
    bends = [""] if task.bends is None else [str(task.bends)] if bent else ["", str(task.bends)]
    large = [[*dict.fromkeys(replace(recipe, bend=bend) for recipe in batches)] for bend in bends]
    widths = [[replace(recipe, bend=bend) for recipe in heard] for bend in bends]
    ways = [[*recipes, *chosen] for recipes, chosen in zip(large, widths, strict=True)]
    ahead: list[Recipe] = []
    if len(heard) > 1:
        ways, ahead = choose_widths(trainer, widths, fold, large)
    plans = [Plan(recipes, ahead) for recipes in ways]
    return plans[0] if len(plans) == 1 else better_plan(trainer, plans, folds)


def choose_columns(trainer: Trainer, fold: Fold) -> list[tuple[int, ...]]:
    """Return of which columns recipes are to be: of few, of all, (), or some of these and others of those.

    Of all where short trainings with few are hardly better for a fold; of few where they are so clearly.
    """
    task, relevance = trainer.task, trainer.relevance
    if task.inputs is None or len(task.inputs.used) < MANY:
        return [()]

    def short(columns: tuple[int, ...]) -> Recipe:
        recipe = by_batches(len(fold.kept), task.inputs, task.problem, task.fixed, columns)[0]
        bend = "" if task.bends is None else str(task.bends)
        return replace(recipe, epochs=math.ceil(SCOUT * recipe.epochs), bend=bend)

    def loss(made: Made | None) -> float:
        trial = Trial(relevance.scout, [fold], [made] if made else [])
        if made is not None:
            trial.judge(task.loss_of)
        return trial.loss

    relevance.scout = short(())
    [whole] = trainer.all_of([(relevance.scout, fold, 0)], part=TO_CHOOSE)
    trainer.look_at_columns(fold, whole)
    few = [relevance.largest(fold, count) for count in relevance.counts[fold]]
    losses = [loss(made) for made in trainer.all_of([(short(columns), fold, 0) for columns in few], part=TO_CHOOSE)]
    bar, least = loss(whole), min(losses, default=np.inf)
    if not less(least, bar, BEHIND):
        return [()]
    straight = [len(columns) == relevance.straight[fold] for columns in few]
    rest = min((loss for loss, line in zip(losses, straight, strict=True) if not line), default=np.inf)
    fewest = next(
        columns
        for columns, loss, line in zip(few, losses, straight, strict=True)
        if not less(least, loss, BEHIND) and (not line or less(loss, rest, BEHIND))
    )
    clearly = less(least, bar, behind(task.judged_by(fold))) and len(fewest) != relevance.straight[fold]
    return [fewest] if clearly else [fewest, ()]


def choose_widths(
    trainer: Trainer, ways: list[list[Recipe]], fold: Fold, large: list[list[Recipe]]
) -> tuple[list[list[Recipe]], list[Recipe]]:
    """Return of each way its large recipes and the two bayesian ones of the largest evidence for a fold's rows.

    And those of these that are costly, and were better than the large ones. The evidence is that after a short training. The
    widest, which cost most, are tried where of the others one of the wider is best. The large recipes, which come next, are
    trained at the same time; a way in which all answer far worse than the best of another is left out.
    """
    beside = [recipe for recipes in large for recipe in recipes]
    heard: dict[Recipe, float] = {}
    losses: dict[Recipe, float] = {}

    def listen(recipes: list[Recipe], beside: list[Recipe]) -> None:
        jobs = [(short_of(r), fold, start) for r in recipes for start in range(BEGUN if r.starts == 1 else 1)]
        jobs = [*((recipe, fold, 0) for recipe in beside), *jobs]
        for (recipe, _, number), one in zip(jobs, trainer.all_of(jobs), strict=True):
            if one is None:
                continue
            loss = trainer.task.loss_of([fold], [one.checks[-1].answers])
            losses[recipe] = min(losses.get(recipe, np.inf), loss)
            if recipe in beside:
                trainer.known[recipe, number] = one
            elif one.history.evidence is not None:
                heard[recipe] = max(heard.get(recipe, -np.inf), one.history.evidence.log)

    def loudest(recipes: list[Recipe]) -> list[Recipe]:
        return sorted((r for r in recipes if short_of(r) in heard), key=lambda r: -heard[short_of(r)])

    listen([recipe for recipes in ways for recipe in recipes if recipe.hidden not in WIDER], beside)
    rising = [recipes for recipes in ways if any(r.hidden in LEADING for r in loudest(recipes)[:1])]
    listen([recipe for recipes in rising for recipe in recipes if recipe.hidden in WIDER], [])
    best = min((losses[recipe] for recipe in beside if recipe in losses), default=np.inf)
    ahead = [r for recipes in ways for r in loudest(recipes)[:1] if r.costly and losses[short_of(r)] < best]
    least: dict[str, float] = {}  # of each way, which has a bend of its own
    for recipe, loss in losses.items():
        least[recipe.bend] = min(least.get(recipe.bend, np.inf), loss)
    lowest = min(least.values(), default=np.inf)
    whole = [[*own, *loudest(recipes)[:2]] for own, recipes in zip(large, ways, strict=True)]
    return [recipes for recipes in whole if not least.get(recipes[0].bend, np.inf) > HOPELESS * lowest], ahead


def short_of(recipe: Recipe) -> Recipe:
    """Return a bayesian recipe's short training, by which its width is judged."""
    return replace(recipe, epochs=min(TRIAL, recipe.epochs))


def better_plan(trainer: Trainer, plans: list[Plan], folds: list[Fold]) -> Plan:
    """Return the first of two plans, unless the best recipe of the second is clearly better for the first fold."""
    fold = folds[0]

    def better() -> Plan:
        """Of the two as far as their recipes have been trained."""
        lowest = []
        for plan in plans:
            trials = [Trial(r, [fold], [trainer.known[r, 0]]) for r in plan.recipes if (r, 0) in trainer.known]
            for trial in trials:
                trial.judge(trainer.task.loss_of)
            lowest.append(min((trial.loss for trial in trials if np.isfinite(trial.loss)), default=np.inf))
        return plans[1] if less(lowest[1], lowest[0], behind(trainer.task.judged_by(fold))) else plans[0]

    jobs = [(recipe, fold, 0) for plan in plans for recipe in plan.recipes]
    for (recipe, _, _), made in zip(jobs, trainer.all_of(jobs, better().likely(folds)), strict=True):
        if made is not None:
            trainer.known[recipe, 0] = made
    return better()


def choose_augmentation(trainer: Trainer, recipe: Recipe, fold: Fold, candidates: list[Augmentation | None]) -> Recipe:
    """Return the recipe with what may be done to images: what it is best to do with some in a short training."""
    few = replace(fold, kept=fold.kept[:: -(-len(fold.kept) // TRIED)], aside=fold.aside[:TRIED])
    short = to_try(recipe, len(few.kept))
    jobs = [(replace(short, augment=augment), few, 0) for augment in candidates]
    losses = []
    for made in trainer.all_of(jobs, part=TO_CHOOSE):
        loss = np.inf if made is None else trainer.task.loss_of([few], [made.checks[-1].answers])
        losses.append(loss if np.isfinite(loss) else np.inf)
    return replace(recipe, augment=candidates[int(np.argmin(losses))])

"""What is to be said against networks that have been trained.

One that a named solver has trained is judged by the rows that it learned from, is kept, and what is wrong is said.
solver="auto" judges by other rows, and tries otherwise (auto/); what is said is of what was still learned in vain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from chainrule.data import Array, Doubles, Floats, Indices, alone, listed
from chainrule.network import Network
from chainrule.problem import SMALL, Problem

LOOKED_AT, FORWARD = 10_000, 300  # rows of which losses are taken, and hidden values
CLEARLY = 0.01  # of a constant answer's loss: what learning is to gain, and what a linear model may be better by
COLUMNS = 300  # a table of more is not compared with a linear model: it would take long
GAIN = 1e-3  # of a loss: what is to lower it by less counts for nothing
IDLE = 0.5  # of the units of a layer
STILL = 1e-4  # of an output's range that counts as none
BARELY = 10  # rows by which a column of several is not judged, nor whether anything was learned
SLIPS, NAMED = 0.01, 5  # part of the rows that may well be slips, and how many are named
GROSS, RARE = 5.0, 0.05  # ranges of the middle half that a gross error is off, and the part of the rows that may be
# Losses of rows by which the best of several is lower where there is nothing to learn: in four of five cases, and nearly all.
CHANCE, LUCK = 4.0, 10.0


def complaints(network: Network, problem: Problem, rows: Array, labels: Floats, weight: Doubles | None) -> list[str]:
    """Return a sentence for each fault: a constant answer, worse than a linear model, units that say nothing."""
    some = slice(None, None, -(-len(rows) // LOOKED_AT))
    rows, labels = rows[some], labels[some]
    weight = None if weight is None else weight[some]
    found = []
    constant = np.repeat(problem.constant(labels, weight), len(rows), axis=0)
    bar = problem.mean_loss(constant, labels, weight)
    own = problem.mean_loss(problem.pool.ask(network, rows), labels, weight)
    if not own < bar - CLEARLY * abs(bar) and abs(bar) > SMALL:
        found.append(
            f"the network learned nothing: on its own rows the mean loss is {own:.4g}, that of a constant answer {bar:.4g}"
        )
    elif (linear := _linear(rows, labels, weight)) is not None:
        if problem.squares and problem.output == "identity":
            least = problem.mean_loss(linear, labels, weight)
            if own > least + CLEARLY * abs(bar):
                found.append(
                    f"the network is worse than a linear model: on its own rows the mean loss is {own:.4g}, a linear "
                    f"model's {least:.4g}"
                )
        elif problem.pool.output:
            wrong, least = (_wrong(z, labels) for z in (network.predict(rows), linear))
            if wrong > least + CLEARLY + np.sqrt(wrong / len(rows)):
                found.append(
                    f"the network is worse than a linear model: of its own rows it answers {100 * wrong:.2g} % wrong, a "
                    f"linear model {100 * least:.2g} %"
                )
    return found + idle(network, rows)


def _linear(rows: Array, labels: Floats, weight: Doubles | None) -> Doubles | None:
    """Return the answers of least squares; None where they are not to be had, or would fit anything."""
    n, d = rows.shape
    if d > COLUMNS or n < 2 * (d + 1) or np.isnan(labels).any():
        return None
    A, root = np.column_stack([rows.astype(np.float64), np.ones(n)]), np.sqrt(np.ones(n) if weight is None else weight)
    return np.asarray(A @ np.linalg.lstsq(A * root[:, None], labels * root[:, None], rcond=None)[0])


def _wrong(answers: Array, labels: Floats) -> float:
    """Return the share of wrong classes, or of wrong labels where there are several, or one of two classes."""
    if labels.shape[1] > 1 and (labels.sum(axis=1) == 1).all():
        return float((answers.argmax(axis=1) != labels.argmax(axis=1)).mean())
    return float(((answers > 0.5) != (labels > 0.5)).mean())


def idle(network: Network, rows: Array) -> list[str]:
    """Return a sentence for each hidden layer most of whose units answer the same for every row."""
    rows = rows[:: -(-len(rows) // FORWARD)]
    found = []
    for k in range(1, len(network.layers)):
        Y = network.hidden(rows, k)
        still = int((np.ptp(Y, axis=0) <= STILL * np.maximum(np.abs(Y).max(axis=0), 1)).sum())
        if still > IDLE * Y.shape[1] and len(Y) > 1:
            found.append(
                f"{still} of the {Y.shape[1]} units of hidden layer {k} answer the same for every row: they are saturated, "
                f"or 0"
            )
    return found


@dataclass
class Remedies:
    """What may be done: first to leave to auto what the user has settled, and to check what was stated of the answers."""

    settled: list[str] = field(default_factory=list)  # by the user's names
    stated: list[str] = field(default_factory=list)

    def before(self, remedy: str) -> str:
        """Return what to do; this remedy last."""
        settled = [f"leave {', '.join(self.settled)} to auto"] if self.settled else []
        stated = [f"see whether {' and '.join(self.stated)} hold of the data"] if self.stated else []
        whole = ", or ".join([*settled, *stated, remedy])
        return whole[0].upper() + whole[1:]


class Answers(NamedTuple):
    """What an ensemble answers for rows that its networks have not seen, and what a constant does."""

    own: list[Doubles]
    flat: list[Doubles]
    loss_of: Callable[[list[Doubles], int | None], float]  # of either, the mean, by all labels or one column of them


def no_better(
    answers: Answers, problem: Problem, table: Array, labels: Floats, linear: float, remedies: Remedies
) -> tuple[list[str], list[int]]:
    """Return what is to be said of answers no better than a constant or a linear model, and which columns are worse.

    `linear` is the linear model's mean loss.
    """
    still = "y" if unvaried(labels) else "each column of X" if unvaried(table) else ""
    if still:
        return [f"{still} is the same in every row: nothing is to be learned but a constant answer"], []
    said: list[str] = []
    worse: list[int] = []
    losses: dict[int | None, tuple[float, float]] = {}
    columns: list[int | None] = [] if problem.output == "softmax" else list(range(labels.shape[1]))
    for column in [None, *columns] if len(columns) != 1 else [None]:
        own, bar = losses[column] = answers.loss_of(answers.own, column), answers.loss_of(answers.flat, column)
        these = alone(labels, column)
        known = int((~np.isnan(these)).any(axis=1).sum())
        if known < min(BARELY, len(labels) / 2):
            said.append(
                f"column {column} of y is known in {known} of {len(labels)} rows: too few to learn it from, or to judge "
                f"what is answered. Get more of them, or leave the column out"
            )
            continue
        if learned(own, bar, known) or unvaried(these):
            continue
        if column is not None and own > bar:
            worse.append(column)
        if said:
            continue
        if column is None and own < bar and known <= BARELY:
            said.append(
                f"{known} rows are too few to tell whether anything was learned: on rows not learned from the mean loss is "
                f"{own:.4g}, that of a constant answer {bar:.4g}. Get more of them"
            )
            break
        what = "y depends" if column is None else f"column {column} of y, of which {known} rows are known, depends"
        said.append(
            f"no network found in X what {what} on: on rows not learned from the mean loss is {own:.4g}, that of a "
            f"constant answer {bar:.4g}. {remedies.before(_about_rows(problem, labels))}"
        )
        if column is None:
            break
    own, bar = losses[None]
    if not said and not learned(own, bar, len(labels), LUCK):
        said.append(
            f"what was learned may well be chance: on rows not learned from the mean loss is {own:.4g}, that of a constant "
            f"answer {bar:.4g}, and where y depends on nothing in X the best of several networks has seemed as good. Get "
            f"more rows"
        )
    if not said and own - linear > CLEARLY * abs(bar):
        said.append(
            f"the networks are worse than a linear model: on rows not learned from their mean loss is {own:.4g}, "
            f"the linear model's {linear:.4g}. {remedies.before('get')} more rows"
        )
    return said, worse


def _about_rows(problem: Problem, labels: Floats) -> str:
    """Return what to do where nothing was learned: about the few rows that count more than all others, if there are any."""
    if problem.squares:
        squares = np.nansum((labels - np.nanmedian(labels, axis=0)) ** 2, axis=1)
        order = np.argsort(squares, kind="stable")
        furthest = slice(-max(1, int(SLIPS * len(squares))), None)
        more = (squares[order] > squares[order].cumsum() - squares[order])[furthest]  # than all of those nearer
        far = sorted(order[furthest][more.argmax() :].tolist()) if more.any() else []
        if len(squares) > BARELY and far:
            rows = listed(far, NAMED)
            these, they, them = ("row", "it is", "it") if len(far) == 1 else ("rows", "each is", "them")
            return (
                f"correct {these} {rows} of y or leave {them} out: {they} further from the others' median than all of them "
                f"together; or choose loss='huber', to which a few rows mean less"
            )
    return "look whether the rows of X and y belong together, or get more of them, or other columns"


def gross(answers: Doubles, labels: Floats, rows: Indices) -> list[str]:
    """Return a sentence where few rows of y, far from all others and from their answers, count for more than all the rest."""
    l = labels[rows].astype(np.float64)
    first, middle, third = np.nanquantile(l, [0.25, 0.5, 0.75], axis=0)
    off = np.abs(l - middle)
    errors = np.nan_to_num((answers - l) ** 2)
    far = ((off > GROSS * (third - first)) & (errors > off * off / 4)).any(axis=1)
    mean = errors.sum(axis=1)
    if not 0 < far.sum() <= RARE * len(rows) or mean[far].sum() <= mean[~far].sum():
        return []
    named = listed(sorted(rows[far].tolist()), NAMED)
    these, are, count, them = ("row", "is", "counts", "it") if far.sum() == 1 else ("rows", "are", "count", "them")
    return [
        f"{these} {named} of y {are} far from all others, and from what networks answer that did not learn from {them}, and "
        f"{count} for more than all the rest. Correct {them}, or leave {them} out; or choose loss='huber', to which few rows "
        f"mean less"
    ]


def learned(loss: float, constant: float, rows: int, chance: float = CHANCE) -> bool:
    """Whether a mean loss on so many rows is clearly below that of a constant answer."""
    return loss < constant - min(max(GAIN, chance / rows), 0.5) * abs(constant)


def unvaried(values: Array) -> bool:
    """Whether no column of a table or of labels holds two values."""
    first = values[:1]
    return bool(((values == first) | np.isnan(values)).all())

"""What is to be said against a network that has been trained.

One that a named solver has trained is judged by the rows that it learned from, is kept, and what is wrong is said.
solver="auto" judges by other rows, and tries otherwise (learner.py).
"""

from __future__ import annotations

import numpy as np

from chainrule.data import Array
from chainrule.network import Floats, Network
from chainrule.recipes import SMALL, Problem
from chainrule.trials import Doubles, mean_loss

LOOKED_AT, FORWARD = 10_000, 300  # rows of which losses are taken, and hidden values
CLEARLY = 0.01  # of a constant answer's loss: what learning is to gain, and what a linear model may be better by
COLUMNS = 300  # a table of more is not compared with a linear model: it would take long
IDLE = 0.5  # of the units of a layer
STILL = 1e-4  # of an output's range that counts as none


def complaints(network: Network, problem: Problem, rows: Array, labels: Floats, weight: Doubles | None) -> list[str]:
    """Return a sentence for each fault: a constant answer, worse than a linear model, units that say nothing."""
    some = slice(None, None, -(-len(rows) // LOOKED_AT))
    rows, labels = rows[some], labels[some]
    weight = None if weight is None else weight[some]
    found = []
    constant = np.repeat(problem.constant(labels, weight), len(rows), axis=0)
    bar = mean_loss(problem, constant, labels, weight)
    own = mean_loss(problem, problem.pool.ask(network, rows), labels, weight)
    if not own < bar - CLEARLY * abs(bar) and abs(bar) > SMALL:
        found.append(
            f"the network learned nothing: on its own rows the mean loss is {own:.4g}, that of a constant answer {bar:.4g}"
        )
    elif (linear := _linear(rows, labels, weight)) is not None:
        if problem.squares and problem.output == "identity":
            least = mean_loss(problem, linear, labels, weight)
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

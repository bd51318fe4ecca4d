"""Which columns of a table say most: what a network's answers lose when a column is shuffled (Breiman 2001).

They are asked of rows that the network has learned from. Of columns that say nothing it has learned by heart what it could,
evenly of all of them: that is little beside what it has of a column that says something.
"""

from __future__ import annotations

import numpy as np

from chainrule.data import Array
from chainrule.generator import permutation
from chainrule.network import Floats, Network
from chainrule.recipes import Problem
from chainrule.trials import Doubles, mean_loss

MANY = 16  # columns, from which on it is asked whether few of them do as well
LEAST = 0.01  # of what the column that says most is worth: what one that is kept is worth at the least;
ABOVE = 3.0  # or so many times the middle of all, where most say nothing
FEWER = 0.75  # of the columns: what is worth being tried in place of all
LEAST_ASKED, ASKED, ASKING = 100, 1000, 3e10  # rows, and multiply-adds
ANSWERED = 8192  # rows at once
SHUFFLED = 1 << 42  # the random stream


def relevance(
    network: Network,
    rows: Array,
    groups: list[int],
    labels: Floats,
    problem: Problem,
    seed: int,
    n_threads: int = 1,
    weight: Doubles | None = None,
) -> Doubles:
    """Return for each column, that of a group of inputs, by how much the mean loss rises when it is shuffled; (columns,)."""
    of, W = np.asarray(groups), network.layers[0].weights
    rest, count = beyond_first(network), int(of.max()) + 1
    afford = int(np.clip(ASKING / (count * len(rest.parameters)), LEAST_ASKED, ASKED))
    some = slice(None, None, -(-len(rows) // afford))
    rows, labels, weight = rows[some], labels[some], None if weight is None else weight[some]
    P, order = sums_of_first(network, rows, n_threads), permutation(seed, SHUFFLED, len(rows))

    def shuffled(column: int) -> Array:
        inputs = np.flatnonzero(of == column)
        units = np.flatnonzero(W[:, inputs].any(axis=1))  # of an embedding those of the column alone
        part = np.zeros((len(P), len(units)), dtype=P.dtype)
        for i in inputs:  # one after the other: a product of matrices has other bits on other machines
            part += rows[:, i, None] * W[units, i]
        moved = P.copy()
        moved[:, units] += part[order] - part
        return moved

    def losses(parts: list[Array]) -> list[float]:
        answers = problem.pool.ask(rest, np.concatenate(parts), n_threads)
        return [mean_loss(problem, z, labels, weight) for z in np.split(answers, len(parts))]

    at_once = max(1, ANSWERED // len(P))
    rises = [
        loss
        for first in range(0, count, at_once)
        for loss in losses([shuffled(column) for column in range(first, min(first + at_once, count))])
    ]
    return np.array(rises) - losses([P])[0]


def sums_of_first(network: Network, rows: Array, n_threads: int) -> Array:
    """Return the sums P of the first layer for some rows, before its activation."""
    layer = network.layers[0]
    first = Network(network.sizes[:2], output="identity", dtype=network.dtype, engine=network.engine)
    first.parameters = network.parameters[: layer.weights.size + layer.bias.size]
    return first.predict(rows, n_threads=n_threads)


def beyond_first(network: Network) -> Network:
    """Return the network that the sums P of the first layer enter."""
    first, units = network.layers[0], network.sizes[1]
    sizes, activations, held = network.sizes[1:], network.activations[1:], first.weights.size + first.bias.size
    parameters = network.parameters[held:]
    if first.activation != "identity" or len(network.layers) == 1:
        sizes, activations = (units, *sizes), (first.activation, *activations)
        parameters = np.concatenate([np.eye(units, dtype=network.dtype).ravel(), np.zeros(units), parameters])
    rest = Network(sizes, activations[:-1], activations[-1], dtype=network.dtype, engine=network.engine)
    rest.parameters = parameters
    return rest


def how_few(rises: Doubles) -> list[int]:
    """Return how many columns might do as well as all: those above a bar, for each of two bars."""
    bars = (LEAST * rises.max(), max(ABOVE * float(np.median(rises)), 0.0))
    counts = {int((rises >= bar).sum()) for bar in bars}
    return sorted(count for count in counts if 0 < count <= FEWER * len(rises))


def largest(rises: Doubles, count: int) -> tuple[int, ...]:
    """Return the places of the columns that say most, ascending."""
    return tuple(sorted(np.argsort(-rises, kind="stable")[:count].tolist()))

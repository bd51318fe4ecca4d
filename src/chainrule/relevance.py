"""Which columns of a table say most: what a network's answers lose when a column is shuffled (Breiman 2001).

They are asked of rows that the network has learned from. Of columns that say nothing it has learned by heart what it could,
evenly of all of them: that is little beside what it has of a column that says something.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from chainrule.data import Array
from chainrule.generator import permutation
from chainrule.network import Floats, Network
from chainrule.recipes import Problem
from chainrule.trials import Doubles, mean_loss

MANY = 16  # columns, from which on it is asked whether few of them do as well
LEAST = 0.01  # of what the column that says most is worth: what one that is kept is worth at the least;
ABOVE = 3.0  # or so many times the middle of all, where most say nothing
FEWER = 0.75  # of the columns: what is worth being tried in place of all
ASKED, ASKING = 1000, 3e10  # rows at the most, and multiply-adds
SHUFFLED = 1 << 42  # the random stream


def relevance(
    network: Network, rows: Array, groups: list[int], labels: Floats, problem: Problem, seed: int, n_threads: int = 1
) -> Doubles:
    """Return for each column, that of a group of inputs, by how much the mean loss rises when it is shuffled; (columns,)."""
    of = np.asarray(groups)
    count = int(of.max()) + 1
    afford = int(np.clip(ASKING / (count * len(network.parameters)), 100, ASKED))
    rows, labels = (values[:: -(-len(rows) // afford)] for values in (rows, labels))
    network, rows, of = beyond_embedding(network, rows, of, n_threads)

    def loss(rows: Array) -> float:
        return mean_loss(problem, problem.pool.ask(network, rows, n_threads), labels, None)

    order, whole = permutation(seed, SHUFFLED, len(rows)), loss(rows)
    rises = np.zeros(count)
    for column in range(count):
        shuffled = rows.copy()
        shuffled[:, of == column] = rows[order][:, of == column]
        rises[column] = loss(shuffled) - whole
    return rises


def beyond_embedding(
    network: Network, rows: Array, of: npt.NDArray[np.int_], n_threads: int
) -> tuple[Network, Array, npt.NDArray[np.int_]]:
    """Return the layers after an embedding, what enters them, and of which column that is; it is much less."""
    first = network.layers[0].weights
    seen = np.array([[(w[of == column] != 0).any() for column in range(of.max() + 1)] for w in first])
    if len(network.layers) < 3 or (seen.sum(axis=1) > 1).any():
        return network, rows, of
    rest = Network(
        network.sizes[1:],
        network.activations[1:-1],
        network.activations[-1],
        dtype=network.dtype,
        engine=network.engine,
    )
    rest.parameters = network.parameters[first.size + len(first) :]
    return rest, network.hidden(rows, 1, n_threads=n_threads), seen.argmax(axis=1)


def how_few(rises: Doubles) -> list[int]:
    """Return how many columns might do as well as all: those above a bar, for each of two bars."""
    bars = (LEAST * rises.max(), max(ABOVE * float(np.median(rises)), 0.0))
    counts = {int((rises >= bar).sum()) for bar in bars}
    return sorted(count for count in counts if 0 < count <= FEWER * len(rises))


def largest(rises: Doubles, count: int) -> tuple[int, ...]:
    """Return the places of the columns that say most, ascending."""
    return tuple(sorted(np.argsort(-rises, kind="stable")[:count].tolist()))

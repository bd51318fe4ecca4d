"""Least squares by second order: Levenberg and Marquardt's steps, and MacKay's evidence, which sets the penalties.

Numbers are those of docs/derivation.md, sections 16, 17 and 22. A step is an engine's (reference.py); when they end, and when
the evidence is listened to, is here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType

import numpy as np
import numpy.typing as npt

from chainrule.data import Doubles, Floats, Indices
from chainrule.functions import Objective
from chainrule.generator import uniform
from chainrule.network import Network
from chainrule.reference import height

FIRST_PRECISION, FIRST_NOISE = 0.1, 10.0  # α and β before the data have spoken
DEAF = 3  # steps with these: at the start all inputs seem irrelevant, and what is given up then never comes back
QUIET = 5  # the steps that must have changed little before the end
BIASES = 1 << 20  # the random stream of first biases: far from those of layers
LITTLE = 1e-5  # of the evidence, a row; of the sum of squares, of itself


@dataclass
class Evidence:
    """What the data say of a network, its parameters taken as normally distributed (MacKay 1992).

    Attributes
    ----------
    log : float
        The log of the probability (90) of the labels by this network, its parameters integrated out: of several networks the
        one of the largest is to be preferred.
    effective : float
        How many parameters the data determine (91).
    precision : ndarray, (groups,)
        α (92) of each group of parameters: 1 / their variance. In a first layer a large one says that an input is irrelevant.
    noise : ndarray, (k,)
        The standard deviation of the labels about each output, 1/√β (93).
    """

    log: float
    effective: float
    precision: Doubles
    noise: Doubles


def spread_biases(network: Network, seed: int) -> None:
    """Let the units bend at different places: second-order steps find their way from there more often."""
    for k, layer in enumerate(network.layers[:-1]):
        layer.bias[:] = 2 * uniform(seed, BIASES + k, len(layer.bias)) - 1


def check_least_squares(solver: str, aim: Objective) -> None:
    """Refuse a loss that is no sum of squares, and a penalty where the evidence sets it."""
    if aim.loss != "half_squared_error":
        raise ValueError(
            f"solver={solver!r} is of least squares: it goes with loss='half_squared_error'; got {aim.loss!r}. "
            f"Choose another solver, as 'adam'"
        )
    if solver == "bayesian" and aim.l2:
        raise ValueError(
            "solver='bayesian' finds its penalties itself: leave l2 (alpha) at 0, or choose 'levenberg_marquardt'"
        )


def group_parameters(sizes: Sequence[int], inputs: Sequence[int] | None = None) -> Indices:
    """Return the group of each parameter: one for the weights of each input, of each later layer, and of each layer's biases.

    `inputs` has the group of each input, 0 and up, where several belong together.
    """
    of_input = np.arange(sizes[0]) if inputs is None else np.asarray(inputs)
    if (
        of_input.shape != (sizes[0],)
        or of_input.dtype.kind not in "iu"
        or set(of_input) != set(range(of_input.max() + 1))
    ):
        raise ValueError(f"groups must have a number for each of the {sizes[0]} inputs, 0 and up, none left out")
    each: list[Indices] = []
    for k, (n_in, n_out) in enumerate(pairwise(sizes)):
        first = int(each[-1][-1]) + 1 if each else 0
        weights = np.tile(of_input, n_out) if k == 0 else np.full(n_in * n_out, first)
        each += [weights, np.full(n_out, int(weights.max()) + 1)]
    return np.concatenate(each).astype(np.int64)


@dataclass
class LeastSquares:
    """Lowers F (86) = ½ Σ β e² + ½ Σ α m² for a network; the parameters are changed in place, float64.

    With `of` the groups of the parameters, α and β follow the evidence, from the step after the first `deaf` on; else they
    stay: `decay` of each parameter, and 1.
    """

    engine: ModuleType
    parameters: Floats
    sizes: Sequence[int]
    activations: Sequence[str]
    rows: npt.NDArray[np.generic]
    labels: Doubles
    weight: Doubles | None
    n_threads: int
    decay: Doubles
    of: Indices | None = None
    deaf: int = DEAF
    damping: float = 1e-2
    evidence: Evidence | None = None

    def minimise(self, iterations: int, iterated: Callable[[Doubles], bool]) -> bool:
        """Take steps; after each, `iterated` is told the mean of e² of each output, and ends it by True.

        Returns True where it came to rest: F or the evidence has stopped moving, or no step lowers F any more.
        """
        n, k = self.labels.shape
        known = (~np.isnan(self.labels)).sum(axis=0).astype(np.float64)
        beta = np.full(k, FIRST_NOISE if self.of is not None else 1.0)
        alpha = np.full(0 if self.of is None else int(self.of.max()) + 1, FIRST_PRECISION)
        marks: list[float] = []
        for step in range(iterations):
            decay = self.decay if self.of is None else alpha[self.of]
            listens = self.of is not None and step >= self.deaf
            moved, self.damping, heard = self.engine.least_squares_step(
                self.parameters, self.sizes, self.activations, self.rows, self.labels, self.weight, decay, beta,
                self.damping, self.of if listens else None, alpha if listens else None, known, self.n_threads,
            )  # fmt: skip
            if moved is None:
                return True
            if heard is not None:
                log, effective, alpha, beta = heard
                self.evidence = Evidence(log, effective, alpha, np.sqrt(1 / beta))
            mark = self.evidence.log if self.evidence is not None else height(moved, beta, decay, self.parameters)
            marks.append(mark)
            if iterated(moved / np.maximum(known, 1)):
                return False
            least = LITTLE * n if self.of is not None else LITTLE * abs(mark)
            if step >= self.deaf + QUIET and abs(mark - marks[-1 - QUIET]) <= least:
                return True
        return False

"""The problem: which loss of which outputs is to be made small, and what the best answer is where inputs say nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data import Doubles, Floats
from chainrule.elementary import exponential, logarithm
from chainrule.ensemble import Pool
from chainrule.functions import SMOOTHED, Objective
from chainrule.network import Network

SMALL = 1e-12  # stands for 0 where it would be divided by, or its logarithm taken


@dataclass(frozen=True)
class Problem:
    """What is to be learned, and within which limits the user wants it learned, whatever the rows."""

    loss: str
    output: str
    labels: int  # of a row
    constants: dict[str, Any]  # delta, quantile
    engine: str | None = None
    dtype: str = "float32"
    clip: float | None = None
    max_norm: float | None = None
    mean_weight: float = 1.0  # of the rows: the penalty is shared by weight
    monotone: bool = False
    adversarial: float = 0.0

    @property
    def pool(self) -> Pool:
        """How the answers of its networks become one."""
        return Pool(self.output if self.loss in SMOOTHED else "")

    @property
    def squares(self) -> bool:
        """Whether it is least squares, which the bayesian solver needs."""
        alone = self.clip is None and self.max_norm is None and not self.monotone and not self.adversarial
        return self.loss == "half_squared_error" and self.output != "softmax" and alone

    def mean_loss(self, answers: Doubles, labels: Floats, weight: npt.NDArray[Any] | None) -> float:
        """Return the mean loss of answers (n, k) as the pool takes them."""
        q = logarithm(np.maximum(answers, SMALL)) if self.loss == "poisson" else answers
        name = {"huber": "delta", "quantile": "quantile"}.get(self.loss)
        aim = Objective(self.loss, (self.constants[name],) * answers.shape[1] if name else ())
        each = aim.value(q, answers, labels.astype(np.float64))  # of the losses that are pooled by q, q alone counts
        return float(np.cumsum(each if weight is None else each * weight)[-1]) / len(each)

    # ---- answers that do not look at the inputs ----

    def constant(self, labels: Floats, weight: npt.NDArray[Any] | None) -> Doubles:
        """Return the answer, as a pool takes it, that is best where the inputs say nothing, (1, k)."""
        l = labels.astype(np.float64)
        if self.loss in ("huber", "quantile"):
            share = self.constants["quantile"] if self.loss == "quantile" else 0.5
            return np.array([[quantile(column, share, weight) for column in l.T]])
        w = np.broadcast_to(np.ones(1) if weight is None else weight[:, None], l.shape)
        mean = mean_known(l, w)
        if self.pool.output:
            # What has not been seen may well be there (Krichevsky and Trofimov 1981).
            known = (w * ~np.isnan(l)).sum(axis=0)
            classes = 2 if self.output == "sigmoid" else self.labels
            return self.before_output((known * mean + 0.5) / (known + 0.5 * classes))[None]
        if self.loss != "gaussian":
            return np.asarray(mean[None])
        return np.hstack([mean, logarithm(np.maximum(mean_known((l - mean) ** 2, w), SMALL))])[None]

    def before_output(self, z: Doubles) -> Doubles:
        """Return q, of which the output makes z."""
        if self.output == "identity":
            return z
        if self.output == "softplus":  # log(eᶻ − 1)
            z = np.maximum(z, SMALL)
            return z + logarithm(1 - exponential(-z))
        return logarithm(np.maximum(z, SMALL)) - (logarithm(1 - z) if self.output == "sigmoid" else 0)

    def begin(self, network: Network, labels: Floats) -> None:
        """Let a network begin with the mean of the labels as its answer: what is rare is then rare from the first step on."""
        if self.output in ("sigmoid", "softmax", "exp") and self.loss != "gaussian":
            low, high = 1e-4, np.inf if self.output == "exp" else 1 - 1e-4
            mean = np.clip(mean_known(labels.astype(np.float64), np.ones(labels.shape)), low, high)
            network.layers[-1].bias[:] = self.before_output(mean)

    def flat(self, z: Doubles, inputs: int) -> Network:
        """Return a network whose outputs are z (k,), as a pool takes them, whatever enters."""
        network = Network([inputs, z.size], output=self.output, dtype=self.dtype, engine=self.engine)
        network.parameters = np.zeros(len(network.parameters))
        self.flatten(network, z, list(range(z.size)))
        return network

    def flatten(self, network: Network, z: Doubles, outputs: list[int]) -> None:
        """Let some outputs of a network be those of z (k,), as a pool takes them, whatever enters."""
        if not self.pool.output:
            z = self.before_output(np.clip(z, SMALL, 1 - SMALL) if self.output == "sigmoid" else z)
        network.layers[-1].weights[outputs] = 0
        network.layers[-1].bias[outputs] = z[outputs]


def mean_known(l: Doubles, w: Doubles) -> Doubles:
    """Return the mean of each column, weighted, of what is not missing; 0 where all of it is."""
    known = w * ~np.isnan(l)
    return np.asarray(np.nansum(known * l, axis=0) / np.maximum(known.sum(axis=0), SMALL))


def quantile(l: Doubles, share: float, weight: npt.NDArray[Any] | None) -> float:
    """Return the number up to which a share of l, (n,), by weight, lies; 0 where all of it is missing."""
    w = ~np.isnan(l) * (np.ones(len(l)) if weight is None else weight)
    if not w.any():
        return 0.0
    order = np.argsort(l, kind="stable")
    heap = w[order].cumsum()
    return float(l[order][np.searchsorted(heap, share * heap[-1])])

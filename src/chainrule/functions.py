"""Activations and losses: value, derivative and formula on adjacent lines. Numbers are those of docs/derivation.md.

It is pure NumPy in float64 and serves the textbook engine and `explain`; the native engine has its own (core/functions.hpp),
compared with these by the tests.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data import DataError, check_number
from chainrule.elementary import exponential, logarithm

Array = npt.NDArray[np.float64]


def expit(p: Array) -> Array:
    """The logistic function, without overflow."""
    from scipy import special  # when first used: its import takes longer than that of all the rest

    return np.asarray(special.expit(p))


def ndtr(p: Array) -> Array:
    """The normal distribution Φ."""
    from scipy import special

    return np.asarray(special.ndtr(p))


@dataclass(frozen=True)
class Activation:
    """σ(p) and σ′(p) of one variable, elementwise; the formulas in plain text and in TeX."""

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    formula: str
    derivative_formula: str
    tex: str
    derivative_tex: str


def softmax(q: Array) -> Array:
    """(53) z_k = e^(q_k) / Σ_j e^(q_j) along the last axis; the largest q is taken off first, which changes nothing."""
    e = np.exp(q - q.max(axis=-1, keepdims=True))
    z: Array = e / e.sum(axis=-1, keepdims=True)
    return z


def log_softmax(q: Array) -> Array:
    """Log of (53), without the loss of small probabilities."""
    shifted = q - q.max(axis=-1, keepdims=True)
    return np.asarray(shifted - logarithm(exponential(shifted).cumsum(axis=-1)[..., -1:]))


def log_one_more(q: Array) -> Array:
    """Return log(1 + e^q)."""
    return np.asarray(np.maximum(q, 0) + logarithm(1 + exponential(-np.abs(q))))


def _density(p: Array) -> Array:
    return np.asarray(np.exp(-0.5 * p * p) / np.sqrt(2 * np.pi))


ACTIVATIONS: Mapping[str, Activation] = {
    "identity": Activation(  # (47)
        lambda p: p,
        lambda p: np.ones_like(p),
        "p",
        "1",
        r"p",
        r"1",
    ),
    "sigmoid": Activation(  # (2) and (3)
        lambda p: expit(p),
        lambda p: expit(p) * expit(-p),
        "1/(1 + e^−p)",
        "e^−p/(1 + e^−p)²",
        r"\frac{1}{1 + e^{-p}}",
        r"\frac{e^{-p}}{(1 + e^{-p})^2}",
    ),
    "tanh": Activation(  # (48)
        lambda p: np.tanh(p),
        lambda p: 1 / np.cosh(np.clip(p, -350, 350)) ** 2,
        "tanh p",
        "1/cosh² p",
        r"\tanh p",
        r"\frac{1}{\cosh^2 p}",
    ),
    "relu": Activation(  # (49)
        lambda p: np.maximum(p, 0),
        lambda p: (p > 0).astype(np.float64),
        "max(p, 0)",
        "1 if p > 0 else 0",
        r"\max(p, 0)",
        r"[p > 0]",
    ),
    "softplus": Activation(  # (50)
        lambda p: np.logaddexp(0, p),
        lambda p: expit(p),
        "log(1 + e^p)",
        "1/(1 + e^−p)",
        r"\log(1 + e^p)",
        r"\frac{1}{1 + e^{-p}}",
    ),
    "silu": Activation(  # (51), with s = 1/(1 + e^−p)
        lambda p: p * expit(p),
        lambda p: expit(p) * (1 + p * expit(-p)),
        "p/(1 + e^−p)",
        "s (1 + p (1 − s)), s = 1/(1 + e^−p)",
        r"\frac{p}{1 + e^{-p}}",
        r"s\,(1 + p\,(1 - s)),\; s = \frac{1}{1 + e^{-p}}",
    ),
    "gelu": Activation(  # (52), with the normal distribution Φ and its density φ
        lambda p: p * ndtr(p),
        lambda p: ndtr(p) + p * _density(p),
        "p Φ(p)",
        "Φ(p) + p φ(p)",
        r"p\,\Phi(p)",
        r"\Phi(p) + p\,\varphi(p)",
    ),
    "exp": Activation(  # (73)
        lambda p: np.exp(p),
        lambda p: np.exp(p),
        "e^p",
        "e^p",
        r"e^p",
        r"e^p",
    ),
}
LOSS_ALIASES = {"squared_error": "half_squared_error", "log_loss": "cross_entropy", "pinball": "quantile"}
ALIASES = {"logistic": "sigmoid", "linear": "identity", "swish": "silu"}
OUTPUTS = (*ACTIVATIONS, "softmax")


@dataclass(frozen=True)
class Loss:
    """ε of each row from the output's q and z, the label l, all (n, k), and the constants c (k,): value (n,), derivative.

    The derivative, shaped like q, is ∂ε/∂z where `by` is "z" and ∂ε/∂q where it is "q"; `output` is the one activation it
    goes with. The network has `per_label` outputs for each label: q and z are (n, per_label · k).
    """

    value: Callable[[Array, Array, Array, Array], Array]
    derivative: Callable[[Array, Array, Array, Array], Array]
    by: str
    formula: str
    derivative_formula: str
    tex: str
    derivative_tex: str
    output: str | None = None
    per_label: int = 1
    labels: str = "numbers"  # what they are, of lowest to highest
    lowest: float = -np.inf
    highest: float = np.inf


def _huber(e: Array, delta: Array) -> Array:
    size = np.abs(e)
    return np.where(size <= delta, 0.5 * e**2, delta * (size - 0.5 * delta))


def _quantile_slope(e: Array, tau: Array) -> Array:
    return np.where(e > 0, 1 - tau, np.where(e < 0, -tau, 0.0))


def _halves(q: Array) -> tuple[Array, Array]:
    """Means μ and logs of the variances s = log σ², each (n, k), of the gaussian's outputs (n, 2k)."""
    k = q.shape[1] // 2
    return q[:, :k], q[:, k:]


def _gaussian(q: Array, l: Array) -> Array:
    mu, s = _halves(q)
    return np.asarray(0.5 * (s + (mu - l) ** 2 * exponential(-s)).sum(axis=1))


def _gaussian_slope(q: Array, l: Array) -> Array:
    mu, s = _halves(q)
    precision = np.exp(-s)
    return np.hstack([(mu - l) * precision, 0.5 * (1 - (mu - l) ** 2 * precision)])


LOSSES: Mapping[str, Loss] = {
    "half_squared_error": Loss(  # (22) and (23)
        lambda q, z, l, c: 0.5 * ((z - l) ** 2).sum(axis=1),
        lambda q, z, l, c: z - l,
        "z",
        "½|z − l|²",
        "z − l",
        r"\tfrac12 \lvert z - l \rvert^2",
        r"z - l",
    ),
    "huber": Loss(  # (74) and (75), δ = c
        lambda q, z, l, c: _huber(z - l, c).sum(axis=1),
        lambda q, z, l, c: np.clip(z - l, -c, c),
        "z",
        "Σ ½ e² where |e| ≤ δ, else δ (|e| − ½ δ), e = z − l",
        "z − l, no more than δ either way",
        r"\sum_k \begin{cases} \tfrac12 e_k^2 & \lvert e_k \rvert \le \delta \\ "
        r"\delta (\lvert e_k \rvert - \tfrac12 \delta) & \text{else} \end{cases},\; e = z - l",
        r"\max(-\delta, \min(z - l, \delta))",
    ),
    "quantile": Loss(  # (76) and (77), τ = c
        lambda q, z, l, c: np.where(z > l, (1 - c) * (z - l), c * (l - z)).sum(axis=1),
        lambda q, z, l, c: _quantile_slope(z - l, c),
        "z",
        "Σ (1 − τ) e where e > 0, else −τ e, e = z − l",
        "1 − τ where z > l, −τ where z < l",
        r"\sum_k \begin{cases} (1 - \tau)\, e_k & e_k > 0 \\ -\tau\, e_k & \text{else} \end{cases},\; e = z - l",
        r"[z > l] - \tau",
    ),
    "binary_cross_entropy": Loss(  # (54) and (55); log z = −log(1 + e^−q) and log(1 − z) = −log(1 + e^q)
        lambda q, z, l, c: (log_one_more(q) - l * q).sum(axis=1),
        lambda q, z, l, c: z - l,
        "q",
        "−Σ l log z + (1 − l) log(1 − z)",
        "z − l",
        r"-\sum_k l_k \log z_k + (1 - l_k) \log(1 - z_k)",
        r"z - l",
        output="sigmoid",
        labels="probabilities",
        lowest=0.0,
        highest=1.0,
    ),
    "cross_entropy": Loss(  # (56) and (57)
        lambda q, z, l, c: -(l * log_softmax(q)).sum(axis=1),
        lambda q, z, l, c: z * l.sum(axis=1, keepdims=True) - l,
        "q",
        "−Σ l log z",
        "z Σl − l",
        r"-\sum_k l_k \log z_k",
        r"z \textstyle\sum_k l_k - l",
        output="softmax",
        labels="probabilities",
        lowest=0.0,
    ),
    "poisson": Loss(  # (78) and (79)
        lambda q, z, l, c: (z - l * q).sum(axis=1),
        lambda q, z, l, c: z - l,
        "q",
        "Σ z − l log z",
        "z − l",
        r"\sum_k z_k - l_k \log z_k",
        r"z - l",
        output="exp",
        labels="counts or rates, 0 or more,",
        lowest=0.0,
    ),
    "gaussian": Loss(  # (80) and (81)
        lambda q, z, l, c: _gaussian(q, l),
        lambda q, z, l, c: _gaussian_slope(q, l),
        "q",
        "Σ ½ (s + (μ − l)² e^−s), z = (μ, s), s = log σ²",
        "((μ − l) e^−s, ½ (1 − (μ − l)² e^−s))",
        r"\tfrac12 \sum_k s_k + (\mu_k - l_k)^2 e^{-s_k},\; z = (\mu, s)",
        r"\bigl((\mu - l)\,e^{-s},\; \tfrac12 (1 - (\mu - l)^2 e^{-s})\bigr)",
        output="identity",
        per_label=2,
    ),
}
RISING = ("identity", "sigmoid", "tanh", "relu", "softplus", "exp")  # the activations that never fall
SMOOTHED = ("binary_cross_entropy", "cross_entropy")  # the losses whose labels can be


@dataclass(frozen=True)
class Objective:
    """What is made small: a loss, its constants, and what is done to the labels and the weights."""

    loss: str = "half_squared_error"
    constants: tuple[float, ...] = ()  # δ of huber, τ of quantile: one for each output; empty for the other losses
    smoothing: float = 0.0  # of the labels (68), of cross-entropies only
    l2: float = 0.0  # λ (39)

    def smooth(self, l: Array) -> Array:
        """(68) Labels (n, k) moved towards all classes alike."""
        if self.smoothing == 0:
            return l
        classes = 2 if self.loss == "binary_cross_entropy" else l.shape[1]
        return l * (1 - self.smoothing) + self.smoothing / classes

    def value(self, q: Array, z: Array, l: Array) -> Array:
        """ε of each row, (n,), of labels that are smooth already; a label that is missing, NaN, counts nothing."""
        loss, c, known = LOSSES[self.loss], np.asarray(self.constants), ~np.isnan(l)
        if known.all():
            return loss.value(q, z, l, c)
        total = np.zeros(len(l))
        for k in range(l.shape[1]):
            own, rows = np.arange(loss.per_label) * l.shape[1] + k, known[:, k]
            total[rows] += loss.value(q[rows][:, own], z[rows][:, own], l[rows, k : k + 1], c[k : k + 1])
        return total

    def derivative(self, q: Array, z: Array, l: Array) -> Array:
        """∂ε/∂z or ∂ε/∂q of each row, shaped like q, of labels that are smooth already."""
        slope, missing = LOSSES[self.loss].derivative(q, z, l, np.asarray(self.constants)), np.isnan(l)
        return np.where(np.tile(missing, LOSSES[self.loss].per_label), 0.0, slope) if missing.any() else slope


def activate(name: str, p: Array) -> Array:
    """σ(p) by name, the softmax included."""
    return softmax(p) if name == "softmax" else ACTIVATIONS[name].value(p)


def output_delta(objective: Objective, output: str, q: Array, z: Array, l: Array) -> Array:
    """∂ε/∂q of the output layer for each row; shaped like q."""
    slope = objective.derivative(q, z, l)
    if LOSSES[objective.loss].by == "q":  # (55), (57), (79), (81)
        return slope
    return through_output(output, q, z, slope)


def through_output(output: str, q: Array, z: Array, slope: Array) -> Array:
    """From a derivative by z to that by q, along the last axis; the softmax's is its own transpose, (58) is (84)."""
    if output == "softmax":  # (58), (84)
        return np.asarray(z * (slope - (slope * z).sum(axis=-1, keepdims=True)))
    return np.asarray(slope * ACTIVATIONS[output].derivative(q))  # (33)


def choose(argument: str, value: object, allowed: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """Return the allowed name that `value` stands for; else say what is allowed and what was probably meant."""
    names = list(allowed)
    name = (aliases or {}).get(value, value) if isinstance(value, str) else value
    if isinstance(name, str) and name in names:
        return name
    near = difflib.get_close_matches(value, [*names, *(aliases or {})], 1) if isinstance(value, str) else []
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{argument} must be one of {', '.join(names)}; got {value!r}.{hint}")


def check_labels(labels: npt.NDArray[np.floating], name: str, loss: str) -> None:
    """Refuse labels that a loss has no meaning for: for a cross-entropy those below 0 or, the binary one, above 1.

    One of several labels of a row may be missing, NaN, where a loss is a sum over them.
    """
    rule = LOSSES[loss]
    missing = np.isnan(labels)
    if missing.any() and (labels.shape[1] < 2 or loss == "cross_entropy"):
        row, column = np.argwhere(missing)[0].tolist()
        why = "each row of classes needs all of them" if labels.shape[1] > 1 else "leave the row out"
        raise DataError(f"{name} must hold labels; found NaN at row {row}, column {column}: {why}")
    if labels.size and ((labels < rule.lowest) | (labels > rule.highest)).any():
        row, column = np.argwhere((labels < rule.lowest) | (labels > rule.highest))[0].tolist()
        raise DataError(
            f"{name} must hold {rule.labels} for loss={loss!r}; found {labels[row, column]:g} at row {row}, column {column}"
        )


def check_loss(loss: str, output: str, outputs: int) -> str:
    """Return the loss's name, checked against the activation and the number of the outputs."""
    name = choose("loss", loss, LOSSES, LOSS_ALIASES)
    needed, per_label = LOSSES[name].output, LOSSES[name].per_label
    if needed is not None and output != needed:
        raise ValueError(
            f"loss={name!r} goes with output={needed!r}, where it is exact; this network has output={output!r}"
        )
    if outputs % per_label:
        raise ValueError(
            f"loss={name!r} takes {per_label} outputs for each label, first the means, then the logs of the variances; "
            f"this network has {outputs}: give it {outputs + 1}"
        )
    return name


def objective(loss: str, output: str, outputs: int, **settings: Any) -> Objective:
    """Return the objective of a network that ends with so many outputs of one activation, each argument checked.

    The last ones are remembered: to check them takes as long as a small network's gradient.
    """
    try:
        return _objective(loss, output, outputs, **settings)
    except TypeError:  # a list cannot be remembered
        return _objective.__wrapped__(loss, output, outputs, **settings)


@functools.lru_cache(maxsize=64, typed=True)
def _objective(
    loss: str,
    output: str,
    outputs: int,
    *,
    l2: float = 0.0,
    delta: float = 1.0,
    quantile: float | Sequence[float] = 0.5,
    label_smoothing: float = 0.0,
) -> Objective:
    name = check_loss(loss, output, outputs)
    constants = {
        "huber": (check_number("delta", delta, 0, np.inf, "()"),) * outputs,
        "quantile": one_each("quantile", quantile, outputs, "outputs", "()"),
    }
    smoothing = check_number("label_smoothing", label_smoothing, 0, 1, "[)")
    if smoothing and name not in SMOOTHED:
        raise ValueError(f"label_smoothing goes with {' and '.join(SMOOTHED)}; leave it at 0 for loss={name!r}")
    return Objective(name, constants.get(name, ()), smoothing, check_number("l2", l2, 0, np.inf, "[)"))


def one_each(name: str, value: float | Sequence[float], n: int, what: str, ends: str) -> tuple[float, ...]:
    """Return n numbers between 0 and 1: given so, or one for all."""
    if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str):
        return (check_number(name, value, 0, 1, ends),) * n
    if len(value) != n:
        raise ValueError(f"{name} must be one number, or one for each of the {n} {what}; got {len(value)}")
    return tuple(check_number(name, number, 0, 1, ends) for number in value)

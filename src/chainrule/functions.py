"""Activations and losses: value, derivative and formula on adjacent lines. Numbers are those of docs/derivation.md.

It is pure NumPy in float64 and serves the textbook engine and `explain`; the native engine has its own (core/functions.hpp),
compared with these by the tests.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtr  # the logistic and the normal distribution, without overflow

Array = npt.NDArray[np.float64]


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
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


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
}
LOSS_ALIASES = {"squared_error": "half_squared_error", "log_loss": "cross_entropy"}
ALIASES = {"logistic": "sigmoid", "linear": "identity", "swish": "silu"}
OUTPUTS = (*ACTIVATIONS, "softmax")


@dataclass(frozen=True)
class Loss:
    """ε of each row from the output's q and z and the label l, all (n, k): value (n,), and its derivative (n, k).

    The derivative is ∂ε/∂z where `by` is "z" and ∂ε/∂q where it is "q"; `output` is the one activation it goes with.
    """

    value: Callable[[Array, Array, Array], Array]
    derivative: Callable[[Array, Array, Array], Array]
    by: str
    formula: str
    derivative_formula: str
    tex: str
    derivative_tex: str
    output: str | None


LOSSES: Mapping[str, Loss] = {
    "half_squared_error": Loss(  # (22) and (23)
        lambda q, z, l: 0.5 * ((z - l) ** 2).sum(axis=1),
        lambda q, z, l: z - l,
        "z",
        "½|z − l|²",
        "z − l",
        r"\tfrac12 \lvert z - l \rvert^2",
        r"z - l",
        None,
    ),
    "binary_cross_entropy": Loss(  # (54) and (55); log z = −log(1 + e^−q) and log(1 − z) = −log(1 + e^q)
        lambda q, z, l: (np.logaddexp(0, q) - l * q).sum(axis=1),
        lambda q, z, l: z - l,
        "q",
        "−Σ l log z + (1 − l) log(1 − z)",
        "z − l",
        r"-\sum_k l_k \log z_k + (1 - l_k) \log(1 - z_k)",
        r"z - l",
        "sigmoid",
    ),
    "cross_entropy": Loss(  # (56) and (57)
        lambda q, z, l: -(l * log_softmax(q)).sum(axis=1),
        lambda q, z, l: z * l.sum(axis=1, keepdims=True) - l,
        "q",
        "−Σ l log z",
        "z Σl − l",
        r"-\sum_k l_k \log z_k",
        r"z \textstyle\sum_k l_k - l",
        "softmax",
    ),
}


def activate(name: str, p: Array) -> Array:
    """σ(p) by name, the softmax included."""
    return softmax(p) if name == "softmax" else ACTIVATIONS[name].value(p)


def output_delta(loss: str, output: str, q: Array, z: Array, l: Array) -> Array:
    """∂ε/∂q of the output layer for each row; (n, k)."""
    slope = LOSSES[loss].derivative(q, z, l)
    if LOSSES[loss].by == "q":  # (55), (57)
        return slope
    if output == "softmax":  # (58)
        return np.asarray(z * (slope - (slope * z).sum(axis=1, keepdims=True)))
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
    """Refuse labels that a cross-entropy has no meaning for: below 0 or, for the binary one, above 1."""
    highest = {"binary_cross_entropy": 1.0, "cross_entropy": np.inf}.get(loss)
    if highest is not None and labels.size and not (labels.min() >= 0 and labels.max() <= highest):
        row, column = np.argwhere((labels < 0) | (labels > highest))[0].tolist()
        raise ValueError(
            f"{name} must hold probabilities for loss={loss!r}; found {labels[row, column]:g} at row {row}, column {column}"
        )


def check_loss(loss: str, output: str) -> str:
    """Return the loss's name, checked against the activation of the output layer."""
    name = choose("loss", loss, LOSSES, LOSS_ALIASES)
    needed = LOSSES[name].output
    if needed is not None and output != needed:
        raise ValueError(
            f"loss={name!r} goes with output={needed!r}, where it is exact; this network has output={output!r}"
        )
    return name

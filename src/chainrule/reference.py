"""The textbook engine: forward pass, back-propagation and training in NumPy, float64, as readable as the equations.

It says what is right: the native engine exports the same functions with the same arguments and must agree with it.
It is not fast. Numbers are those of docs/derivation.md. Rows are samples: X is (n, d), L is (n, k).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from chainrule.functions import ACTIVATIONS, LOSSES, activate, output_delta
from chainrule.generator import permutation
from chainrule.optimizers import Rule, take_step

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]


def layers(theta: Floats, sizes: Sequence[int]) -> Iterator[tuple[Floats, Floats]]:
    """Views of the flat parameter vector, layer by layer: weights (out, in) and bias (out,)."""
    at = 0
    for n_in, n_out in pairwise(sizes):
        yield theta[at : at + n_out * n_in].reshape(n_out, n_in), theta[at + n_out * n_in : at + n_out * (n_in + 1)]
        at += n_out * (n_in + 1)


def rows(X: npt.NDArray[np.generic]) -> Array:
    """Return X as the engine computes with it: uint8 holds grey levels 0..255, which enter as 0..1."""
    levels: Array = X.astype(np.float64)
    return levels / 255.0 if X.dtype == np.uint8 else levels


def forward(
    theta: Array, sizes: Sequence[int], activations: Sequence[str], X: Array
) -> tuple[list[Array], list[Array]]:
    """All layers' P = A Wᵀ + b and Y = σ(P), each (n, out); Y begins with X."""
    P: list[Array] = []
    Y: list[Array] = [X]
    for (W, b), activation in zip(layers(theta, sizes), activations, strict=True):
        P.append(np.asarray(Y[-1] @ W.T + b))  # (31), (38)  p = W y + b
        Y.append(activate(activation, P[-1]))  # (32)        y = σ(p)
    return P, Y


def predict(
    theta: Floats, sizes: Sequence[int], activations: Sequence[str], X: npt.NDArray[np.generic], n_threads: int = 1
) -> Floats:
    """Z = f(x; m) for each row; (n, k), of theta's dtype."""
    _, Y = forward(theta.astype(np.float64), sizes, activations, rows(X))
    return Y[-1].astype(theta.dtype)


def mean_loss(
    theta: Floats,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Floats,
    loss: str,
    weight: Floats | None,
    n_threads: int = 1,
) -> float:
    """ε = mean over rows of weight · ε_row (39), from the forward pass alone."""
    A = rows(X)
    with np.errstate(over="ignore", invalid="ignore"):  # a divergence shows in the loss, and is reported once
        P, Y = forward(theta.astype(np.float64), sizes, activations, A)
        return _mean(loss, P[-1], Y[-1], L.astype(np.float64), _weights(weight, len(A)))


def _mean(loss: str, q: Array, z: Array, l: Array, w: Array) -> float:
    return float(w @ LOSSES[loss].value(q, z, l)) / len(w)  # (39), but for the penalty


def _weights(weight: Floats | None, n: int) -> Array:
    return np.ones(n) if weight is None else weight.astype(np.float64)


def loss_and_gradient(
    theta: Floats,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Floats,
    loss: str,
    l2: float,
    weight: Floats | None,
    n_threads: int = 1,
) -> tuple[float, Floats]:
    """ε = mean over rows of weight · ε_row, plus ½ l2 |W|², and ∂ε/∂m, flat like m."""
    m, A, l = theta.astype(np.float64), rows(X), L.astype(np.float64)
    n = len(A)
    w = _weights(weight, n)
    gradient = np.empty_like(m)
    with np.errstate(over="ignore", invalid="ignore"):  # a divergence shows in the loss, and is reported once
        P, Y = forward(m, sizes, activations, A)
        value = _mean(loss, P[-1], Y[-1], l, w)
        dP = output_delta(loss, activations[-1], P[-1], Y[-1], l) * (w / n)[:, None]  # (33)
        parameters, gradients = list(layers(m, sizes)), list(layers(gradient, sizes))
        for k in reversed(range(len(parameters))):
            (W, _), (dW, db) = parameters[k], gradients[k]
            db[:] = dP.sum(axis=0)  # (34)        ∂ε/∂b = ∂ε/∂p
            dW[:] = dP.T @ Y[k] + l2 * W  # (35), (40)  ∂ε/∂W = ∂ε/∂p ⊗ y
            if k > 0:
                dY = dP @ W  # (36)        ∂ε/∂y = Wᵀ ∂ε/∂p
                dP = dY * ACTIVATIONS[activations[k - 1]].derivative(P[k - 1])  # (37)  ∂ε/∂p = ∂ε/∂y ⊙ σ′(p)
        return value + penalty(m, sizes, l2), gradient.astype(theta.dtype)


def penalty(theta: Floats, sizes: Sequence[int], l2: float) -> float:
    """½ l2 |W|² over the weights of all layers, biases left out (39)."""
    return 0.5 * l2 * sum(float((W.astype(np.float64) ** 2).sum()) for W, _ in layers(theta, sizes)) if l2 else 0.0


def run_epochs(
    theta: Floats,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Floats,
    loss: str,
    step: str,
    velocity: Floats,
    square: Floats,
    powers: Array,
    batch_size: int,
    epochs: int,
    first_epoch: int,
    rate: float,
    momentum: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    l2: float,
    weight: Floats | None,
    shuffle: bool,
    seed: int,
    n_threads: int = 1,
) -> tuple[list[float], str]:
    """Train theta in place; the loss of each whole epoch, and how it ended: finished, interrupted, diverged."""
    rule = Rule(step, rate, momentum, beta1, beta2, epsilon, l2)
    m, v, s = (a.astype(np.float64) for a in (theta, velocity, square))
    losses: list[float] = []
    ending = "finished"
    n = len(X)
    try:
        for epoch in range(first_epoch, first_epoch + epochs):
            order = permutation(seed, epoch, n) if shuffle else np.arange(n)
            total = 0.0
            for first in range(0, n, batch_size):
                batch = order[first : first + batch_size]
                w = None if weight is None else weight[batch]
                e, g = loss_and_gradient(m, sizes, activations, X[batch], L[batch], loss, 0.0, w)
                if not np.isfinite(e):
                    ending = "diverged"
                    return losses, ending
                for (W, _), (dW, _) in zip(layers(m, sizes), layers(g, sizes), strict=True):
                    dW += l2 * W  # (40)
                take_step(rule, m, np.asarray(g, dtype=np.float64), v, s, powers)
                total += e * len(batch)
            losses.append(total / n + penalty(m, sizes, l2))
    except KeyboardInterrupt:
        ending = "interrupted"
    finally:
        with np.errstate(over="ignore"):  # after a divergence float32 may not hold what float64 did
            velocity[:], square[:], trained = v, s, m.astype(theta.dtype)
        if np.isfinite(trained).all():
            theta[:] = trained
        else:  # the last step's overflow shows in no loss; what is not finite is of no use, theta stays as it was
            ending = "diverged"
    return losses, ending

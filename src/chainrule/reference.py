"""The textbook engine: forward pass, back-propagation and training in NumPy, float64, as readable as the equations.

It says what is right: the native engine exports the same functions with the same arguments and must agree with it.
It is not fast. Numbers are those of docs/derivation.md. Rows are samples: X is (n, d), L is (n, k).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise, repeat
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from chainrule.elementary import logarithm, total
from chainrule.functions import ACTIVATIONS, Objective, activate, output_delta, through_output
from chainrule.generator import draws, kept, permutation
from chainrule.optimizers import Settings, State, clip_norm, take_step

if TYPE_CHECKING:
    from chainrule.images import Augmentation

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]
Masks = list[Array]  # of what enters each layer, (n, units)

RAISE, LOWER = 4.0, 5.0  # the damping is multiplied or divided by these after a step that failed or succeeded
LEAST, MOST = 1e-12, 1e10  # of the damping; beyond it no step helps
STRIDE = 0.1  # of a step, by which it is asked how the outputs curve along it
BENT = 0.375  # of a step's length, the most that is to come of the curve
WEAKEST, STRONGEST = 1e-6, 1e8  # of the precisions α

# Of numbers too large: they show in the answer, a divergence in the loss, and that is reported once.
quietly = np.errstate(over="ignore", invalid="ignore")


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
    theta: Array, sizes: Sequence[int], activations: Sequence[str], X: Array, masks: Masks | None = None
) -> tuple[list[Array], list[Array]]:
    """All layers' P = A Wᵀ + b and Y = σ(P), each (n, out); Y begins with X. Masks (67) multiply what enters each layer."""
    P: list[Array] = []
    Y: list[Array] = [X]
    for k, ((W, b), activation) in enumerate(zip(layers(theta, sizes), activations, strict=True)):
        if masks:
            Y[k] = Y[k] * masks[k]  # (67)
        P.append(np.asarray(Y[k] @ W.T + b))  # (31), (38)  p = W y + b
        Y.append(activate(activation, P[k]))  # (32)        y = σ(p)
    return P, Y


def dropout_masks(settings: Settings, sizes: Sequence[int], epoch: int, batch: int, n: int) -> Masks | None:
    """(67) What multiplies the n rows that enter each layer: 0 where a value is dropped, 1/(1 − p) where it is kept."""
    if not settings.dropout:
        return None
    masks: Masks = []
    for k, (units, p) in enumerate(zip(sizes[:-1], settings.dropout, strict=True)):
        stays = kept(settings.seed, epoch, batch * len(settings.dropout) + k, n * units, p).reshape(n, units)
        masks.append(np.where(stays, 1 / (1 - p), 0.0))
    return masks


def plain_predict(theta: Floats, sizes: Sequence[int], activations: Sequence[str], X: object) -> Floats | None:
    """None: the native engine has a shorter way for a few rows that need no conversion, this one has not."""
    return None


def plain_loss_and_gradient(
    theta: Floats, sizes: Sequence[int], activations: Sequence[str], X: object, L: object, objective: Objective
) -> tuple[float, Floats] | None:
    """None, likewise."""
    return None


@quietly
def predict(
    theta: Floats, sizes: Sequence[int], activations: Sequence[str], X: npt.NDArray[np.generic], n_threads: int = 1
) -> Floats:
    """Z = f(x; m) for each row; (n, k), of theta's dtype."""
    _, Y = forward(theta.astype(np.float64), sizes, activations, rows(X))
    return Y[-1].astype(theta.dtype)


@quietly
def mean_loss(
    theta: Floats,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Floats,
    objective: Objective,
    weight: Floats | None,
    n_threads: int = 1,
) -> float:
    """ε = mean over rows of weight · ε_row (39), without the penalty, from the forward pass alone."""
    A, l = rows(X), objective.smooth(L.astype(np.float64))
    P, Y = forward(theta.astype(np.float64), sizes, activations, A)
    return _mean(objective.value(P[-1], Y[-1], l), _weights(weight, len(A)))


def _mean(values: Array, w: Array) -> float:
    return float(w @ values) / len(w)  # (39), but for the penalty


def _weights(weight: Floats | None, n: int) -> Array:
    return np.ones(n) if weight is None else weight.astype(np.float64)


def back_propagate(
    m: Array,
    sizes: Sequence[int],
    activations: Sequence[str],
    A: Array,
    l: Array,
    objective: Objective,
    w: Array,
    masks: Masks | None = None,
) -> tuple[float, Array, Array]:
    """ε of a batch, ∂ε/∂m, flat like m, both without the penalty, and ∂ε/∂x, (n, d), but for a mask's factors."""
    n = len(A)
    gradient = np.empty_like(m)
    l = objective.smooth(l)
    P, Y = forward(m, sizes, activations, A, masks)
    value = _mean(objective.value(P[-1], Y[-1], l), w)
    dP = output_delta(objective, activations[-1], P[-1], Y[-1], l) * (w / n)[:, None]  # (33)
    parameters, gradients = list(layers(m, sizes)), list(layers(gradient, sizes))
    for k in reversed(range(len(parameters))):
        (W, _), (dW, db) = parameters[k], gradients[k]
        db[:] = dP.sum(axis=0)  # (34)        ∂ε/∂b = ∂ε/∂p
        dW[:] = dP.T @ Y[k]  # (35), (40)  ∂ε/∂W = ∂ε/∂p ⊗ y
        dY = dP @ W  # (36)        ∂ε/∂y = Wᵀ ∂ε/∂p
        if k > 0:
            if masks:
                dY = dY * masks[k]  # (67)
            dP = dY * ACTIVATIONS[activations[k - 1]].derivative(P[k - 1])  # (37)  ∂ε/∂p = ∂ε/∂y ⊙ σ′(p)
    return value, gradient, dY


@quietly
def loss_and_gradient(
    theta: Floats,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Floats,
    objective: Objective,
    weight: Floats | None,
    n_threads: int = 1,
) -> tuple[float, Floats]:
    """ε = mean over rows of weight · ε_row, plus ½ λ |W|², and ∂ε/∂m, flat like m."""
    m, A = theta.astype(np.float64), rows(X)
    w = _weights(weight, len(A))
    value, gradient, _ = back_propagate(m, sizes, activations, A, L.astype(np.float64), objective, w)
    add_decay(gradient, m, sizes, objective.l2)
    return value + penalty(m, sizes, objective.l2), gradient.astype(theta.dtype)


def penalty(theta: Floats, sizes: Sequence[int], l2: float) -> float:
    """½ λ |W|² over the weights of all layers, biases left out (39)."""
    return 0.5 * l2 * sum(float((W.astype(np.float64) ** 2).sum()) for W, _ in layers(theta, sizes)) if l2 else 0.0


def add_decay(target: Array, m: Array, sizes: Sequence[int], factor: float) -> None:
    """Add the factor times the weights, not the biases: λ W to the gradient (40), −α λ W to the parameters (62)."""
    for (T, _), (W, _) in zip(layers(target, sizes), layers(m, sizes), strict=True):
        T += factor * W


def limit_rows(m: Array, sizes: Sequence[int], most: float) -> None:
    """(66) Shorten each hidden unit's incoming weights to a norm of `most` where they are longer."""
    for W, _ in list(layers(m, sizes))[:-1]:
        norms = np.sqrt((W**2).sum(axis=1))
        long = norms > most
        W[long] *= (most / norms[long])[:, None]


def confine(m: Array, sizes: Sequence[int], signs: Sequence[int]) -> None:
    """(98) Set to 0 the weights of a wrong sign: those of each input by its own, those of later layers below 0."""
    if signs:
        for k, (W, _) in enumerate(layers(m, sizes)):
            s = np.array(signs) if k == 0 else np.ones(W.shape[1])
            W[(s * W) < 0] = 0


def separate(gradient: Array, sizes: Sequence[int], columns: Sequence[int]) -> None:
    """(99) Set to 0 what changes an embedding's weights from one column's inputs to another's units."""
    if columns:
        W, _ = next(iter(layers(gradient, sizes)))
        W *= within_columns(columns, len(W))


def within_columns(columns: Sequence[int], units: int) -> npt.NDArray[np.bool_]:
    """Which units of an embedding see which inputs, (units, d): the columns have equal shares of them, in their order."""
    of_unit = np.arange(units) // (units // (columns[-1] + 1))
    return np.asarray(of_unit[:, None] == np.asarray(columns))


@quietly
def run_epochs(
    theta: Floats,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Floats,
    weight: Floats | None,
    settings: Settings,
    rates: Array,
    state: State,
    epochs: int,
    n_threads: int = 1,
) -> tuple[list[float], str]:
    """Train theta in place; the loss of each whole epoch, and how it ended: finished, interrupted, diverged.

    Rates: one for each step of the call, or a single one for all. The state's arrays are changed in place; its `epochs` is
    the number of the first epoch, and stays.
    """
    m, velocity, square = (a.astype(np.float64) for a in (theta, state.velocity, state.square))
    A, l, objective = rows(X), L.astype(np.float64), settings.objective
    losses: list[float] = []
    ending = "finished"
    n = len(A)
    w = _weights(weight, n)
    rate_of_step = iter(rates.tolist() if len(rates) > 1 else repeat(float(rates[0])))
    try:
        for epoch in range(state.epochs, state.epochs + epochs):
            order = permutation(settings.seed, epoch, n) if settings.shuffle else np.arange(n)
            total = 0.0
            for number, first in enumerate(range(0, n, settings.batch_size)):
                batch, rate = order[first : first + settings.batch_size], next(rate_of_step)
                masks = dropout_masks(settings, sizes, epoch, number, len(batch))
                entering = A[batch]
                if settings.augment is not None:
                    for place, row in enumerate(batch):
                        entering[place] = distorted(A[row], settings.augment, settings.seed, epoch, int(row))
                e, g, dX = back_propagate(m, sizes, activations, entering, l[batch], objective, w[batch], masks)
                if settings.adversarial:
                    moved = entering + settings.adversarial * np.sign(dX)  # (100)
                    e_moved, g_moved, _ = back_propagate(
                        m, sizes, activations, moved, l[batch], objective, w[batch], masks
                    )
                    e, g = (e + e_moved) / 2, (g + g_moved) / 2  # (100)
                if not np.isfinite(e):
                    ending = "diverged"
                    return losses, ending
                separate(g, sizes, settings.embedding)  # (99)
                clip_norm(g, settings.clip)  # (65)
                add_decay(g, m, sizes, objective.l2)  # (40)
                add_decay(m, m, sizes, -rate * settings.weight_decay)  # (62)
                take_step(settings, rate, m, g, velocity, square, state.powers)
                limit_rows(m, sizes, settings.max_norm)  # (66)
                confine(m, sizes, settings.monotone)  # (98)
                total += e * len(batch)
            losses.append(total / n + penalty(m, sizes, objective.l2))
    except KeyboardInterrupt:
        ending = "interrupted"
    finally:
        state.velocity[:], state.square[:], trained = velocity, square, m.astype(theta.dtype)
        if np.isfinite(trained).all():
            theta[:] = trained
        else:  # the last step's overflow shows in no loss; what is not finite is of no use, theta stays as it was
            ending = "diverged"
    return losses, ending


# ---- images ------------------------------------------------------------------------------------------------------------


def distort(
    X: npt.NDArray[np.generic], augment: Augmentation, seed: int, epoch: int, out: Floats, n_threads: int = 1
) -> None:
    """Write into `out` the rows of X as they enter in an epoch."""
    for row, x in enumerate(rows(X)):
        out[row] = distorted(x, augment, seed, epoch, row)


def splines(n: int, apart: float) -> Array:
    """(96) B at n places, of knots so far apart: (n, knots); four of each row are not 0, their sum is 1."""
    B = np.zeros((n, int((n - 1) / apart) + 4))
    for i in range(n):
        k, f = int(i / apart), i / apart - int(i / apart)
        B[i, k : k + 4] = (
            (1 - f) ** 3 / 6,
            (3 * f**3 - 6 * f**2 + 4) / 6,
            (-3 * f**3 + 3 * f**2 + 3 * f + 1) / 6,
            f**3 / 6,
        )
    return B


def distorted(x: Array, augment: Augmentation, seed: int, epoch: int, row: int) -> Array:
    """Return an image, flat, as row number `row` enters in an epoch."""
    height, width, channels = augment.size
    image = x.reshape(height, width, channels)
    apart = augment.smoothness * np.sqrt(3.0)
    By, Bx = splines(height, apart), splines(width, apart)
    knots = By.shape[1] * Bx.shape[1] if augment.elastic else 0
    u = draws(seed, epoch, row, 6 + 2 * knots)
    theta, lean = augment.angle * u[0], augment.shear * u[3]
    turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    A = turn @ [[1, lean], [0, 1]] @ np.diag(1 + augment.scale * u[1:3])  # (95)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    y, x = np.mgrid[:height, :width]
    place = (np.stack([x, y], axis=-1) - middle) @ A.T + middle + augment.shift * u[4:6]  # (95)
    if knots:
        for axis, field in enumerate(u[6:].reshape(2, By.shape[1], Bx.shape[1])):
            place[..., axis] += augment.elastic * By @ field @ Bx.T  # (96)
    at_x, at_y = place[..., 0].clip(0, width - 1), place[..., 1].clip(0, height - 1)
    left, top = np.minimum(at_x, width - 2).astype(int), np.minimum(at_y, height - 2).astype(int)
    right, down = (at_x - left)[..., None], (at_y - top)[..., None]
    upper = image[top, left] * (1 - right) + image[top, left + 1] * right
    lower = image[top + 1, left] * (1 - right) + image[top + 1, left + 1] * right
    return np.asarray(upper * (1 - down) + lower * down).ravel()  # (97)


# ---- Jacobians ---------------------------------------------------------------------------------------------------------


@quietly
def jacobian(
    theta: Floats, sizes: Sequence[int], activations: Sequence[str], X: npt.NDArray[np.generic], n_threads: int = 1
) -> Floats:
    """∂z/∂x of each row, forward: (82) says how each layer's values move with x; (n, k, d), of theta's dtype."""
    m, A = theta.astype(np.float64), rows(X)
    P, Y = forward(m, sizes, activations, A)
    T = np.broadcast_to(np.eye(sizes[0]), (len(A), sizes[0], sizes[0]))  # (82)  T₀ = I
    for (W, _), activation, p, y in zip(layers(m, sizes), activations, P, Y[1:], strict=True):
        columns = (W @ T).swapaxes(1, 2)  # (82)  of W T, (n, d, out)
        T = through_output(activation, p[:, None], y[:, None], columns).swapaxes(1, 2)  # (82)  σ′(p) ⊙ W T; (84)
    return np.ascontiguousarray(T, dtype=theta.dtype)


@quietly
def parameter_jacobian(
    theta: Floats, sizes: Sequence[int], activations: Sequence[str], X: npt.NDArray[np.generic], n_threads: int = 1
) -> Floats:
    """∂z/∂m of each row, reverse; (n k, parameters), of theta's dtype: row i k + j is output j of row i, flat like m."""
    m, A = theta.astype(np.float64), rows(X)
    P, Y = forward(m, sizes, activations, A)
    n, k = Y[-1].shape
    J = np.empty((n, k, len(m)))
    R = through_output(activations[-1], P[-1][:, None], Y[-1][:, None], np.eye(k))  # (83)  ∂z/∂q, (n, k, k)
    parameters, end = list(layers(m, sizes)), len(m)
    for at in reversed(range(len(parameters))):
        W, b = parameters[at]
        J[:, :, end - b.size : end] = R  # (85)  ∂z/∂b = ∂z/∂p
        end -= b.size
        J[:, :, end - W.size : end] = (R[..., None] * Y[at][:, None, None, :]).reshape(n, k, W.size)  # (85)  ∂z/∂p ⊗ y
        end -= W.size
        if at > 0:
            slope = ACTIVATIONS[activations[at - 1]].derivative(P[at - 1])
            R = (R @ W) * slope[:, None]  # (83)  ∂z/∂p = (∂z/∂p W) ⊙ σ′(p), one layer down
    return J.reshape(n * k, len(m)).astype(theta.dtype)


# ---- least squares -----------------------------------------------------------------------------------------------------


@quietly
def normal_equations(
    theta: Floats,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Floats,
    weight: Floats | None,
    precision: Array,
    n_threads: int = 1,
) -> tuple[Array, Array]:
    """JᵀJ, Jᵀe and Σ e² of e = z − l (87) as one matrix, [J e]ᵀ[J e], a row's numbers times √(precision · weight); w e².

    The first is (parameters + 1, parameters + 1) or has more columns; its right upper half counts. The second is (n, k).
    """
    m = theta.astype(np.float64)
    J = parameter_jacobian(m, sizes, activations, X).astype(np.float64)
    known = ~np.isnan(L)
    e = np.where(known, predict(m, sizes, activations, X).astype(np.float64) - L, 0.0)
    w = _weights(weight, len(e))[:, None] * known
    both = np.hstack([J, e.reshape(-1, 1)]) * np.sqrt(precision * w).reshape(-1, 1)  # (89)
    return both.T @ both, w * e**2


def factor(matrix: Array, diagonal: Array) -> Array | None:
    """U (88) of H + diagonal, H the upper left of a matrix of `normal_equations`; None where that is not positive."""
    n = len(diagonal)
    upper = np.triu(matrix[:n, :n])
    H: Array = upper + np.triu(upper, 1).T + np.diag(diagonal)
    with contextlib.suppress(np.linalg.LinAlgError):
        return np.asarray(np.linalg.cholesky(H).T, dtype=np.float64)
    return None


def solve(U: Array, b: Array) -> Array:
    """X of UᵀU x = b."""
    return np.asarray(np.linalg.solve(U, np.linalg.solve(U.T, b)))


def inverse_diagonal(U: Array) -> Array:
    """The diagonal (94) of (UᵀU)⁻¹."""
    return np.asarray((np.linalg.inv(U) ** 2).sum(axis=1))


def height(squares: Array, beta: Array, decay: Array, theta: Floats) -> float:
    """F (86) of the sums of squares of each output, and of the parameters."""
    return float(0.5 * (total(beta * squares) + total(decay * theta**2)))


def least_squares_step(
    theta: Floats,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Array,
    weight: Array | None,
    decay: Array,
    beta: Array,
    damping: float,
    group: npt.NDArray[np.intp] | None,
    alpha: Array | None,
    known: Array,
    n_threads: int = 1,
) -> tuple[Array | None, float, tuple[float, float, Array, Array] | None]:
    """One step (88, 103) of Levenberg and Marquardt that lowers F (86), with more damping where it must; theta is changed.

    F is ½ Σ β w e² + ½ Σ decay m². Returns the sums w e² of each output after it, (k,), None where no step lowers F; the
    damping of the next; and, where the group of each parameter is given, and α of each group, the evidence: its log (90), how
    many parameters are determined, and α and β as it has them. `known` says how many labels of each output are not missing.
    Sums go one after the other, so that equal seeds give equal bits with all processors and threads.
    """
    matrix, each = normal_equations(theta, sizes, activations, X, L, weight, beta, n_threads)
    here, squares = theta.copy(), total(each)
    before = height(squares, beta, decay, here)
    z = predict(here, sizes, activations, X).astype(np.float64)
    slope = np.ascontiguousarray(matrix[: len(here), len(here)]) + decay * here  # (87)
    scale = float(total(beta)) / len(beta)
    while damping < MOST:
        U = factor(matrix, decay + damping * scale)
        if U is not None:
            step = solve(U, slope)
            bend = solve(U, _curvature(here, step, sizes, activations, X, L, weight, z, beta))  # (102)
            if total(bend**2) <= BENT**2 * total(step**2):
                step += bend  # (103)
            theta[:] = here - step  # (88)
            e = np.where(np.isnan(L), 0.0, predict(theta, sizes, activations, X).astype(np.float64) - L)
            squares = total(e**2 * _weights(weight, len(e))[:, None])
            if height(squares, beta, decay, theta) < before:
                damping = max(damping / LOWER, LEAST)
                heard = None
                if group is not None and alpha is not None:
                    heard = _evidence(theta, matrix, squares, group, alpha, beta, known)
                return squares, damping, heard
        damping *= RAISE
    theta[:] = here
    return None, damping, None


def _curvature(
    here: Floats,
    step: Array,
    sizes: Sequence[int],
    activations: Sequence[str],
    X: npt.NDArray[np.generic],
    L: Array,
    weight: Array | None,
    z: Array,
    beta: Array,
) -> Array:
    """½ JᵀB ∂²z/∂t² (102) along a step from where the outputs are z: the gradient of a loss whose e it is."""
    before, after = (predict(here + t * step, sizes, activations, X).astype(np.float64) for t in (-STRIDE, STRIDE))
    curve = beta * (before - 2 * z + after) / (2 * STRIDE**2)  # (101)
    aim = z - _weights(weight, len(z))[:, None] * curve
    aim[np.isnan(L)] = np.nan
    _, gradient = loss_and_gradient(here, sizes, activations, X, aim, Objective("half_squared_error"), None)
    return np.asarray(len(z) * gradient)


def _evidence(
    theta: Floats,
    matrix: Array,
    squares: Array,
    group: npt.NDArray[np.intp],
    alpha: Array,
    beta: Array,
    known: Array,
) -> tuple[float, float, Array, Array] | None:
    """The evidence of the matrix before a step and the parameters after it; None where that is not positive."""
    U = factor(matrix, alpha[group])
    if U is None:
        return None
    count, sums = np.bincount(group, minlength=len(alpha)), np.bincount(group, theta**2, len(alpha))
    unsure = alpha * np.bincount(group, inverse_diagonal(U), len(alpha))
    determined = np.minimum(np.maximum(count - unsure, 1e-6), count)  # (91)
    gamma = float(total(determined))
    log = (
        -0.5 * float(total(beta * squares) + total(alpha * sums))
        + 0.5 * float(total(count * logarithm(alpha)) + total(known * logarithm(beta / (2 * math.pi))))
        - float(total(logarithm(np.diag(U))))
    )  # (90)
    alpha = np.minimum(np.maximum(determined / np.maximum(sums, 1e-300), WEAKEST), STRONGEST)  # (92)
    sure = np.maximum(known - gamma / len(beta), 1.0) / np.maximum(squares, 1e-300)
    return log, gamma, alpha, np.where(known > 0, sure, beta)  # (93)

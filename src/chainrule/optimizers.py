"""Gradient descent and its kin: how a gradient becomes a step. Numbers are those of docs/derivation.md, sections 7 and 11."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from chainrule.data import as_numbers, check_flag, check_integer, check_number
from chainrule.functions import Objective, choose

if TYPE_CHECKING:
    from chainrule.images import Augmentation

Array = npt.NDArray[np.float64]


def gradient_descent(
    derivative: Callable[[Array], npt.ArrayLike], start: npt.ArrayLike, rate: float, steps: int
) -> Array:
    """Walk downhill on any function of one or more variables: m(t+1) = m(t) − α dε/dm, equation (1).

    Parameters
    ----------
    derivative : callable
        dε/dm: takes m, a number or an array shaped like `start`, and returns as many numbers.
    start : float or array
        m(0), of any shape.
    rate : float
        The learning rate α.
    steps : int
        How many steps to take.

    Returns
    -------
    path : ndarray, (steps + 1, ...)
        m(0), m(1), ... m(steps).

    Raises
    ------
    ValueError
        If the derivative does not have the shape of m, or steps is negative.
    FloatingPointError
        If the path leaves the finite numbers: the rate is too large.

    Examples
    --------
    >>> gradient_descent(lambda x: 2 * x, start=1.0, rate=0.25, steps=3)  # ε = x²
    array([1.   , 0.5  , 0.25 , 0.125])
    """
    m = np.asarray(as_numbers(start, "start"), dtype=np.float64)
    if not np.isfinite(m).all():
        raise ValueError(f"start must hold finite numbers; got {start!r}")
    steps = check_integer("steps", steps, 0, 2**62)
    rate = check_number("rate", rate, -np.inf, np.inf, "()")
    path = np.empty((steps + 1, *m.shape))
    path[0] = m
    for t in range(steps):
        slope = np.asarray(
            as_numbers(derivative(path[t].copy() if m.shape else path[t]), "derivative"), dtype=np.float64
        )
        if np.isnan(slope).any():
            raise FloatingPointError(f"gradient_descent: the derivative is NaN in step {t + 1}, at m = {path[t]}")
        if slope.shape != m.shape:
            raise ValueError(f"derivative must return numbers of the shape of start, {m.shape}; got {slope.shape}")
        with np.errstate(over="ignore", invalid="ignore"):  # reported below, with its remedy
            path[t + 1] = path[t] - rate * slope  # (1)
        if not np.isfinite(path[t + 1]).all():
            raise FloatingPointError(
                f"gradient_descent left the finite numbers in step {t + 1}: rate={rate} is too large"
            )
    return path


SOLVERS = (
    "gradient_descent", "sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "rprop", "lbfgs",
    "levenberg_marquardt", "bayesian",
)  # fmt: skip
LEAST_SQUARES = ("levenberg_marquardt", "bayesian")
SECOND_ORDER = ("lbfgs", *LEAST_SQUARES)  # which find the lengths of their steps themselves
STEPS = {
    "gradient_descent": "descent",
    "sgd": "descent",
    "adamw": "adam",
    **dict.fromkeys(SECOND_ORDER, "descent"),
}  # the others' are their names
FULL_BATCH = ("gradient_descent", "rprop", *SECOND_ORDER)  # whose steps are of all rows
RATES = {"adam": 0.001, "adamw": 0.001, "rmsprop": 0.001, "rprop": 0.01}  # default learning rates
RATE = 0.1  # of the others
GROW, SHRINK, LONGEST, SHORTEST = 1.2, 0.5, 50.0, 1e-6  # of Rprop's steps


@dataclass(frozen=True)
class Settings:
    """How `run_epochs` trains: the objective, the step and its constants, what is done to gradient, weights and values."""

    objective: Objective
    step: str  # descent, momentum, nesterov, adam, rmsprop, rprop
    batch_size: int
    momentum: float = 0.0  # μ
    beta1: float = 0.9
    beta2: float = 0.999  # of adam; of rmsprop its one decay of the squares
    epsilon: float = 1e-8
    weight_decay: float = 0.0  # decoupled, of the weights only (62)
    clip: float = np.inf  # of the norm of the gradient, the penalty not counted (65)
    max_norm: float = np.inf  # of each hidden unit's incoming weights, the bias not counted, after each step (66)
    adversarial: float = 0.0  # how far each input is moved against the fit (100)
    dropout: tuple[float, ...] = ()  # of what enters each layer (input, hidden 1, ...); empty: none (67)
    shuffle: bool = True
    seed: int = 0
    augment: Augmentation | None = None  # of images (95)
    monotone: tuple[int, ...] = ()  # of each input the sign of its weights, 0 for any; empty: any (98)
    embedding: tuple[int, ...] = ()  # the column of each input, ascending from 0; empty: no embedding (99)


def settings(
    objective: Objective,
    solver: str,
    *,
    rows: int,
    depth: int,
    batch_size: int,
    momentum: float,
    nesterov: bool,
    beta1: float,
    beta2: float | None,
    epsilon: float,
    weight_decay: float | None,
    clip: float | None,
    max_norm: float | None,
    adversarial: float,
    dropout: float | Sequence[float],
    shuffle: bool,
    seed: int,
    augment: Augmentation | None,
    monotone: tuple[int, ...],
    embedding: tuple[int, ...],
) -> Settings:
    """Return the settings of a solver for so many rows and layers, each argument checked."""
    dropped = check_dropout(dropout, depth)
    adversarial = check_number("adversarial", adversarial, 0, np.inf, "[)")
    momentum = check_number("momentum", momentum, 0, 1, "[)")
    step = step_of(solver, momentum, check_flag("nesterov", nesterov))
    size = rows if solver in FULL_BATCH else check_integer("batch_size", batch_size, 1, 2**62)
    check_alone(
        solver,
        dropout=dropped,
        adversarial=adversarial,
        clip=clip,
        max_norm=max_norm,
        weight_decay=weight_decay,
        augment=augment,
        monotone=monotone,
        embedding=embedding,
    )
    return Settings(
        objective,
        step,
        batch_size=size,
        momentum=momentum or (0.9 if step in ("momentum", "nesterov") else 0.0),
        beta1=check_number("beta1", beta1, 0, 1, "[)"),
        beta2=check_number("beta2", (0.99 if step == "rmsprop" else 0.999) if beta2 is None else beta2, 0, 1, "[)"),
        epsilon=check_number("epsilon", epsilon, 0, np.inf, "()"),
        weight_decay=(0.01 if solver == "adamw" else 0.0) if weight_decay is None
        else check_number("weight_decay", weight_decay, 0, np.inf, "[)"),
        clip=np.inf if clip is None else check_number("clip", clip, 0, np.inf, "()"),
        max_norm=np.inf if max_norm is None else check_number("max_norm", max_norm, 0, np.inf, "()"),
        adversarial=adversarial,
        dropout=dropped,
        shuffle=check_flag("shuffle", shuffle) and size < rows,  # one batch has all rows in any order
        seed=check_integer("seed", seed, 0, 2**64 - 1),
        augment=augment,
        monotone=monotone,
        embedding=embedding,
    )  # fmt: skip


def check_dropout(dropout: float | Sequence[float], depth: int) -> tuple[float, ...]:
    """Return dropout of what enters each of `depth` layers; one number is that of the hidden layers. Empty: none."""
    if not isinstance(dropout, Sequence | np.ndarray) or isinstance(dropout, str):
        each = (0.0, *(check_number("dropout", dropout, 0, 1, "[)"),) * (depth - 1))
    elif len(dropout) == depth:
        each = tuple(check_number("dropout", p, 0, 1, "[)") for p in dropout)
    else:
        raise ValueError(
            f"dropout must be one number, of the hidden layers, or one for what enters each of the {depth} layers, "
            f"the input first; got {len(dropout)}"
        )
    return each if any(each) else ()


def check_alone(solver: str, **given: object) -> None:
    """Refuse for a second-order solver what only one that steps batch by batch has a place for: each is empty, None or 0."""
    for name, value in given.items() if solver in SECOND_ORDER else ():
        if value:
            instead = ", use a penalty (l2, alpha)" if name == "weight_decay" and solver != "bayesian" else ""
            raise ValueError(
                f"{name} is of the solvers that step batch by batch; solver={solver!r} finds its steps otherwise: "
                f"leave {name} out{instead}, or choose another solver, as 'adam'"
            )


def step_of(solver: str, momentum: float, nesterov: bool) -> str:
    """Return the name of the step that a solver takes with each batch's gradient."""
    name = choose("solver", solver, SOLVERS)
    if name == "sgd" and momentum:
        return "nesterov" if nesterov else "momentum"
    return STEPS.get(name, name)


@dataclass
class State:
    """What an optimizer remembers between steps: arrays shaped like m, empty where its rule needs none."""

    velocity: npt.NDArray[np.floating]  # of rprop the last gradient
    square: npt.NDArray[np.floating]  # of rprop the length of each parameter's step
    powers: Array = field(default_factory=lambda: np.ones(2))  # β1^t, β2^t
    epochs: int = 0
    step: str = "descent"

    @classmethod
    def start(cls, step: str, m: npt.NDArray[np.floating], rate: float) -> State:
        """Return the state before the first step of training m; rprop's steps begin as long as the rate."""
        none = np.zeros(0, dtype=m.dtype)
        velocity = none if step in ("descent", "rmsprop") else np.zeros_like(m)
        square = np.full_like(m, rate if step == "rprop" else 0) if step in ("adam", "rmsprop", "rprop") else none
        return cls(velocity, square, step=step)

    def suits(self, other: State) -> bool:
        """Whether another state could be gone on from in place of this one."""
        layouts = [[(a.shape, a.dtype) for a in (state.velocity, state.square)] for state in (self, other)]
        return layouts[0] == layouts[1] and (self.step == "rprop") == (other.step == "rprop")


def clip_norm(g: Array, most: float) -> None:
    """(65) Shorten g to a norm of `most` where it is longer: g ← g min(1, c/|g|)."""
    norm = float(np.sqrt((g**2).sum()))
    if norm > most:
        g *= most / norm


def take_step(
    settings: Settings, rate: float, m: Array, g: Array, velocity: Array, square: Array, powers: Array
) -> None:
    """Change m, and what the optimizer remembers, by one step along the gradient g; α is the rate, μ the momentum."""
    mu, beta1, beta2, epsilon = settings.momentum, settings.beta1, settings.beta2, settings.epsilon
    if settings.step == "descent":
        m -= rate * g  # (41)
    elif settings.step in ("momentum", "nesterov"):
        velocity[:] = mu * velocity - rate * g  # (42)
        m += velocity if settings.step == "momentum" else mu * velocity - rate * g  # (42), (43)
    elif settings.step == "adam":
        powers *= (beta1, beta2)
        velocity[:] = beta1 * velocity + (1 - beta1) * g  # (44)
        square[:] = beta2 * square + (1 - beta2) * g**2  # (45)
        mean, spread = velocity / (1 - powers[0]), square / (1 - powers[1])
        m -= rate * mean / (np.sqrt(spread) + epsilon)  # (46)
    elif settings.step == "rmsprop":
        square[:] = beta2 * square + (1 - beta2) * g**2  # (63)
        m -= rate * g / (np.sqrt(square) + epsilon)  # (63)
    else:
        a = g * velocity  # (64): above 0 where the slope has kept its sign, below where a valley was crossed
        square[a > 0] = np.minimum(GROW * square[a > 0], LONGEST)
        square[a < 0] = np.maximum(SHRINK * square[a < 0], SHORTEST)
        velocity[:] = np.where(a < 0, 0.0, g)
        m -= np.sign(velocity) * square

"""Gradient descent and its kin: how a gradient becomes a step. Numbers are those of docs/derivation.md, section 7."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from chainrule.data import as_numbers, check_integer, check_number
from chainrule.functions import choose

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


SOLVERS = ("gradient_descent", "sgd", "adam", "lbfgs")


@dataclass(frozen=True)
class Rule:
    """A step and its constants: α is `rate`, μ `momentum`; λ, of the weights only, is `l2`."""

    step: str
    rate: float
    momentum: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    l2: float = 0.0


@dataclass
class State:
    """What an optimizer remembers between steps: arrays shaped like m, empty where its rule needs none."""

    velocity: npt.NDArray[np.floating]
    square: npt.NDArray[np.floating]
    powers: Array = field(default_factory=lambda: np.ones(2))  # β1^t, β2^t
    epochs: int = 0

    @classmethod
    def start(cls, step: str, m: npt.NDArray[np.floating]) -> State:
        """Return the state before the first step of training m."""
        none = np.zeros(0, dtype=m.dtype)
        velocity = none if step == "descent" else np.zeros_like(m)
        return cls(velocity, np.zeros_like(m) if step == "adam" else none)


def step_of(solver: str, momentum: float, nesterov: bool) -> str:
    """Return the name of the step that a solver takes with each batch's gradient."""
    name = choose("solver", solver, SOLVERS)
    if name == "adam":
        return "adam"
    if name != "sgd" or momentum == 0:
        return "descent"
    return "nesterov" if nesterov else "momentum"


def take_step(rule: Rule, m: Array, g: Array, velocity: Array, square: Array, powers: Array) -> None:
    """Change m, and what the optimizer remembers, by one step along the gradient g."""
    if rule.step == "descent":
        m -= rule.rate * g  # (41)
    elif rule.step in ("momentum", "nesterov"):
        velocity[:] = rule.momentum * velocity - rule.rate * g  # (42)
        m += velocity if rule.step == "momentum" else rule.momentum * velocity - rule.rate * g  # (42), (43)
    else:
        powers *= (rule.beta1, rule.beta2)
        velocity[:] = rule.beta1 * velocity + (1 - rule.beta1) * g  # (44)
        square[:] = rule.beta2 * square + (1 - rule.beta2) * g**2  # (45)
        mean, spread = velocity / (1 - powers[0]), square / (1 - powers[1])
        m -= rule.rate * mean / (np.sqrt(spread) + rule.epsilon)  # (46)

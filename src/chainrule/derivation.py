"""`explain`: the derivation with its numbers, one sample forward and backward, each derivative checked by differences.

The equations and their numbers are those of docs/derivation.md: scalars (4) to (17) for the one-dimensional network,
vectors (18) to (30) for two layers, (31) to (37) for any depth; those of losses are in sections 9 and 14. The arithmetic is
the textbook's, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from chainrule import data
from chainrule.explanation import Explanation, Step, plain_number, tex_derivative, tex_letter, with_letter
from chainrule.functions import ACTIVATIONS, LOSSES, Objective, activate, objective, output_delta
from chainrule.network import Network

if TYPE_CHECKING:
    from chainrule.estimators import Classifier, Regressor

Array = npt.NDArray[np.float64]
KINK = 1e-5  # differences step over it
MOST_CHECKED = 10_000  # entries of one gradient; beyond, evenly spaced ones are checked


def explain(
    model: Network | Regressor | Classifier,
    x: npt.ArrayLike,
    l: npt.ArrayLike,
    *,
    loss: str | None = None,
    delta: float = 1.0,
    quantile: float | Sequence[float] = 0.5,
) -> Explanation:
    """Forward and backward pass for one sample: each symbol, its formula, its numbers, each derivative checked.

    Parameters
    ----------
    model : Network, or fitted Regressor or Classifier
    x : array, (d,), or a number for one input
        For an estimator as its `predict` takes a row.
    l : array, (k,), or a number for one output, or a class 0..k-1 for several
        For an estimator as its `fit` takes the row's target: in its own units, or by the name of the class.
    loss : str, default "half_squared_error", or the estimator's
        Without penalty, and of the label as it is, not smoothed.
    delta, quantile : float, default 1 and 0.5, or the estimator's
        Of the losses huber and quantile.

    Returns
    -------
    Explanation
        `print` it; or `.text()`, `.latex()`, `.json()`; `["∂ε/∂V"]` for one symbol's numbers.

    Examples
    --------
    >>> net = Network([1, 1, 1], seed=0, dtype="float64")
    >>> e = explain(net, 0.5, 0.2)
    >>> e["∂ε/∂V"].shape, e.error < 1e-7
    ((), True)
    """
    notes: list[str] = []
    if isinstance(model, Network):
        network = model
    elif hasattr(model, "network_"):
        network, loss = model.network_, loss or model.loss_name_
        delta, quantile = model.delta, model.quantile
        x, l, note = model.example(x, l)
        notes.append(note)
    else:
        raise TypeError(f"explain takes a Network or a fitted Regressor or Classifier; got {type(model).__name__}")
    d, k = network.sizes[0], network.sizes[-1]
    aim = objective(loss or "half_squared_error", network.activations[-1], k, delta=delta, quantile=quantile)
    row = data.as_rows(np.atleast_1d(np.asarray(x)).reshape(1, -1), "x", d, np.dtype(np.float64))
    X = row / 255.0 if row.dtype == np.uint8 else row.astype(np.float64)
    label = np.asarray(l)
    L = data.as_labels(
        label.reshape(1) if label.ndim == 0 else label.reshape(1, -1), "l", 1, k, np.dtype(np.float64),
        LOSSES[aim.loss].per_label,
    )  # fmt: skip
    sample = _Sample(network, X[0], np.asarray(L[0], dtype=np.float64), aim)
    for (_, _, p, _), activation, values in zip(sample.names, sample.activations, sample.p, strict=True):
        if activation == "relu" and (np.abs(values) < KINK).any():
            notes.append(f"{p} holds 0, the kink of relu, where it has no derivative: there differences disagree.")
    if aim.loss == "quantile" and (np.abs(sample.y[-1] - sample.l) < KINK).any():
        notes.append(
            "z meets l, the kink of the quantile loss, where it has no derivative: there differences disagree."
        )
    scalar = network.sizes == (1, 1, 1)
    steps = sample.steps()
    if scalar:
        steps = [*steps, sample.chain()]
        steps = [
            Step(s.number, s.symbol, s.formula, s.tex, s.value.reshape(()), s.inserted,
                 None if s.difference is None else s.difference.reshape(()))
            for s in steps
        ]  # fmt: skip
    return Explanation(f"{network!r}, loss {_named(aim)}", X[0], sample.l, tuple(steps), "\n".join(filter(None, notes)))


def _named(aim: Objective) -> str:
    letter = {"huber": "δ", "quantile": "τ"}.get(aim.loss)
    return (
        f"{aim.loss}, {letter} = {', '.join(map(plain_number, dict.fromkeys(aim.constants)))}" if letter else aim.loss
    )


# Of p, y, W, b, and of their derivatives ∂ε/∂p, ∂ε/∂b, ∂ε/∂W, ∂ε/∂y: equation numbers for scalars, two layers, any depth.
_NUMBERS: dict[str, dict[str, int | tuple[int, int]]] = {
    "scalar": {"p": (4, 6), "y": (5, 7), "ε": 8, "dz": 9, "dp": (14, 10), "db": (15, 11), "dW": (16, 12), "dy": 13},
    "two": {"p": (18, 20), "y": (19, 21), "ε": 22, "dz": 23, "dp": (28, 24), "db": (29, 25), "dW": (30, 26), "dy": 27},
}
_OUTPUT_NUMBERS = {
    "huber": (74, 75),
    "quantile": (76, 77),
    "binary_cross_entropy": (54, 55),
    "cross_entropy": (56, 57),
    "poisson": (78, 79),
    "gaussian": (80, 81),
}


class _Sample:
    """One sample's way through the network, in float64, and back."""

    def __init__(self, network: Network, x: Array, l: Array, aim: Objective) -> None:
        self.W = [layer.weights.astype(np.float64) for layer in network.layers]
        self.b = [layer.bias.astype(np.float64) for layer in network.layers]
        self.activations, self.aim, self.x, self.l = network.activations, aim, x, l
        self.depth = len(self.W)
        self.p: list[Array] = []
        self.y: list[Array] = [x]
        for W, b, activation in zip(self.W, self.b, self.activations, strict=True):
            self.p.append(W @ self.y[-1] + b)
            self.y.append(activate(activation, self.p[-1][None])[0])
        style = "scalar" if network.sizes == (1, 1, 1) else "two" if self.depth == 2 else "deep"
        self.style = style
        two = style != "deep"
        names = [("V", "v", "p", "y"), ("U", "u", "q", "z")] if two else []
        for k in range(1, self.depth + 1) if not two else ():
            names.append((f"W{k}", f"b{k}", f"p{k}", f"y{k}" if k < self.depth else "z"))
        self.names = names

    def number(self, kind: str, k: int) -> int:
        """Return the number of the equation of a kind for layer k (from 0)."""
        if self.style == "deep":
            last = k == self.depth - 1
            general = {"p": 31, "y": 32, "ε": 39, "dz": 23, "dp": 33 if last else 37, "db": 34, "dW": 35, "dy": 36}
            return general[kind]
        number = _NUMBERS[self.style][kind]
        return number[k] if isinstance(number, tuple) else number

    def tail(self, P: Array, k: int) -> Array:
        """ε of each row of P (m, out of layer k), put in the place of p_k."""
        for j in range(k, self.depth):
            Y = activate(self.activations[j], P)
            if j == self.depth - 1:
                return self.aim.value(P, Y, np.broadcast_to(self.l, (len(P), len(self.l))))
            P = Y @ self.W[j + 1].T + self.b[j + 1]
        raise AssertionError("k is below depth")

    def _after_bias(self, k: int, B: Array) -> Array:
        return self.tail(self.p[k] - self.b[k] + B, k)

    def _after_values(self, k: int, Y: Array) -> Array:
        return self.tail(Y @ self.W[k].T + self.b[k], k)

    def steps(self) -> list[Step]:
        """Forward, loss, backward."""
        steps = []
        for k in range(self.depth):
            W, b, p, y = self.names[k]
            below = self.names[k - 1][3] if k else "x"
            dot = " " if self.style == "scalar" else " " if self.style == "deep" else ""
            formula = f"{W}{dot}{below} + {b}"
            inserted = self._insert("{} · {} + {}", self.W[k], self.y[k], self.b[k])
            tex = f"{tex_letter(p)} = {tex_letter(W)} {tex_letter(below)} + {tex_letter(b)}"
            steps.append(Step(self.number("p", k), p, formula, tex, self.p[k], inserted))
            name = self.activations[k]
            if name == "softmax":
                text, tex = f"softmax({p})", rf"{tex_letter(y)} = \mathrm{{softmax}}({tex_letter(p)})"
            else:
                text = f"σ({p}) = {with_letter(p, ACTIVATIONS[name].formula)}"
                tex = (
                    rf"{tex_letter(y)} = \sigma({tex_letter(p)}) = {with_letter(tex_letter(p), ACTIVATIONS[name].tex)}"
                )
            steps.append(Step(53 if name == "softmax" else self.number("y", k), y, text, tex, self.y[k + 1]))
        return steps + self._loss() + self._backward()

    def _loss(self) -> list[Step]:
        loss = LOSSES[self.aim.loss]
        value = self.tail(self.p[-1][None], self.depth - 1)[0]
        own = self.number("ε", 0) if self.style != "deep" else 22, self.number("dz", 0)
        number, slope_number = _OUTPUT_NUMBERS.get(self.aim.loss, own)
        squared = self.aim.loss == "half_squared_error"
        inserted = self._insert("½ ({} − {})²", self.y[-1], self.l) if squared else ""
        steps = [Step(number, "ε", loss.formula, rf"\varepsilon = {loss.tex}", np.asarray(value), inserted)]
        if loss.by == "z":
            z, l = self.y[-1], self.l
            difference = self._difference(lambda Z: self.aim.value(Z, Z, np.broadcast_to(l, Z.shape)), z)
            steps.append(
                Step(slope_number, "∂ε/∂z", loss.derivative_formula,
                     rf"\frac{{\partial\varepsilon}}{{\partial z}} = {loss.derivative_tex}", self._slope(),
                     self._insert("{} − {}", z, l) if squared else "", difference)
            )  # fmt: skip
        return steps

    def _slope(self) -> Array:
        """∂ε/∂z or ∂ε/∂q of the loss."""
        return np.asarray(self.aim.derivative(self.p[-1][None], self.y[-1][None], self.l[None])[0])

    def _backward(self) -> list[Step]:
        steps = []
        q, z, l = self.p[-1][None], self.y[-1][None], self.l[None]
        dp: Array = output_delta(self.aim, self.activations[-1], q, z, l)[0]
        dy = self._slope()
        for k in reversed(range(self.depth)):
            W, b, p, y = self.names[k]
            below = self.names[k - 1][3] if k else "x"
            name = self.activations[k]
            derivative = derivative_tex = ""
            number = self.number("dp", k)
            loss = LOSSES[self.aim.loss]
            if k == self.depth - 1 and loss.by == "q":
                number = _OUTPUT_NUMBERS[self.aim.loss][1]
                formula, tex = loss.derivative_formula, loss.derivative_tex
                inserted = self._insert("{} − {}", self.y[-1], self.l)
            elif name == "softmax":
                number, formula, tex = 58, f"{y} ⊙ (∂ε/∂{y} − Σ ∂ε/∂{y} {y})", ""
                tex = rf"z \odot \bigl({tex_derivative('z')} - \textstyle\sum_k {tex_derivative('z_k')} z_k\bigr)"
                inserted = ""
            else:
                times = " " if self.style == "scalar" else " ⊙ "
                formula = f"∂ε/∂{y}{times}σ′({p})"
                derivative = f", σ′({p}) = {with_letter(p, ACTIVATIONS[name].derivative_formula)}"
                tex_p = tex_letter(p)
                derivative_tex = rf",\; \sigma'({tex_p}) = {with_letter(tex_p, ACTIVATIONS[name].derivative_tex)}"
                tex = rf"{tex_derivative(y)} {'' if self.style == 'scalar' else chr(92) + 'odot '}\sigma'({tex_letter(p)})"
                inserted = self._insert("{} · {}", dy, ACTIVATIONS[name].derivative(self.p[k]))
            steps.append(
                Step(number, f"∂ε/∂{p}", formula + derivative, f"{tex_derivative(p)} = {tex}{derivative_tex}", dp, inserted,
                     self._difference(partial(self.tail, k=k), self.p[k]))
            )  # fmt: skip
            steps.append(
                Step(self.number("db", k), f"∂ε/∂{b}", f"∂ε/∂{p}", f"{tex_derivative(b)} = {tex_derivative(p)}", dp, "",
                     self._difference(partial(self._after_bias, k), self.b[k]))
            )  # fmt: skip
            times, times_tex = (" ", "") if self.style == "scalar" else (" ⊗ ", r"\otimes ")
            steps.append(
                Step(self.number("dW", k), f"∂ε/∂{W}", f"∂ε/∂{p}{times}{below}",
                     f"{tex_derivative(W)} = {tex_derivative(p)} {times_tex}{tex_letter(below)}", np.outer(dp, self.y[k]),
                     self._insert("{} · {}", dp, self.y[k]), self._difference_of_weights(k))
            )  # fmt: skip
            if k > 0:
                dy = self.W[k].T @ dp
                turned, turned_tex = (
                    (f"{W} ", tex_letter(W))
                    if self.style == "scalar"
                    else (f"{W}ᵀ ", rf"{tex_letter(W)}^{{\mathsf T}}")
                )
                tex = f"{tex_derivative(below)} = {turned_tex} {tex_derivative(p)}"
                inserted, difference = (
                    self._insert("{} · {}", self.W[k], dp),
                    self._difference(partial(self._after_values, k), self.y[k]),
                )
                steps.append(
                    Step(self.number("dy", k), f"∂ε/∂{below}", f"{turned}∂ε/∂{p}", tex, dy, inserted, difference)
                )
                dp = dy * ACTIVATIONS[self.activations[k - 1]].derivative(self.p[k - 1])
        return steps

    def chain(self) -> Step:
        """(17): the whole chain of the one-dimensional network, ∂ε/∂V = (z − l) σ′(q) U σ′(p) x."""
        first, second = (ACTIVATIONS[name].derivative(p) for name, p in zip(self.activations, self.p, strict=True))
        if LOSSES[self.aim.loss].by == "q":
            dq = self._slope()
            formula, inserted = "∂ε/∂q U σ′(p) x", self._insert("{} · {} · {} · {}", dq, self.W[1], first, self.x)
            tex = rf"{tex_derivative('q')}\, U\, \sigma'(p)\, x"
            value = dq * self.W[1][0] * first * self.x
        else:
            e = self._slope()
            squared = self.aim.loss == "half_squared_error"
            formula = f"{'(z − l)' if squared else '∂ε/∂z'} σ′(q) U σ′(p) x"
            inserted = self._insert("{} · {} · {} · {} · {}", e, second, self.W[1], first, self.x)
            tex = rf"{'(z - l)' if squared else tex_derivative('z')}\,\sigma'(q)\, U\, \sigma'(p)\, x"
            value = e * second * self.W[1][0] * first * self.x
        return Step(
            17, "∂ε/∂V", formula, f"{tex_derivative('V')} = {tex}", value, inserted, self._difference_of_weights(0)[0]
        )

    def _insert(self, pattern: str, *values: Array) -> str:
        if self.style != "scalar":
            return ""
        shown = [plain_number(float(v.reshape(-1)[0])) for v in values]
        return pattern.format(*(f"({s})" if s.startswith("−") else s for s in shown))

    def _difference(self, f: Callable[[Array], Array], at: Array) -> Array:
        """(59): [ε(a + h) − ε(a − h)] / 2h for each entry of a vector; f takes rows (m, n)."""
        chosen = _evenly(at.size)
        h = 6e-6 * np.maximum(1.0, np.abs(at[chosen]))
        up, down = (np.repeat(at[None], len(chosen), axis=0) for _ in range(2))
        up[np.arange(len(chosen)), chosen] += h
        down[np.arange(len(chosen)), chosen] -= h
        difference = np.full(at.shape, np.nan)
        difference[chosen] = (f(up) - f(down)) / (2 * h)
        return difference

    def _difference_of_weights(self, k: int) -> Array:
        """(59) for the weights of layer k: a weight W_ij moves p_i alone, by h y_j."""
        W, y = self.W[k], self.y[k]
        chosen = _evenly(W.size)
        i, j = np.divmod(chosen, W.shape[1])
        difference = np.full(W.size, np.nan)
        for start in range(0, len(chosen), 1000):
            part = slice(start, start + 1000)
            rows = np.arange(len(i[part]))
            h = 6e-6 * np.maximum(1.0, np.abs(W[i[part], j[part]]))
            up, down = (np.repeat(self.p[k][None], len(rows), axis=0) for _ in range(2))
            up[rows, i[part]] += h * y[j[part]]
            down[rows, i[part]] -= h * y[j[part]]
            difference[chosen[part]] = (self.tail(up, k) - self.tail(down, k)) / (2 * h)
        return difference.reshape(W.shape)


def _evenly(size: int) -> npt.NDArray[np.intp]:
    return np.unique(np.linspace(0, size - 1, min(size, MOST_CHECKED)).round().astype(np.intp))

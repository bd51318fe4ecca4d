"""The network: sizes, activations, and its parameters m as one flat array with named views."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule import data, engines, reference
from chainrule.data import Floats
from chainrule.functions import ACTIVATIONS, ALIASES, LOSSES, OUTPUTS, check_labels, choose, objective
from chainrule.generator import uniform

GLOROT = ("sigmoid", "tanh", "identity", "exp", "softmax")  # initial values after Glorot (60); the others after He (61)
LETTERS = {"V": (0, "weights"), "v": (0, "bias"), "U": (1, "weights"), "u": (1, "bias")}


class Layer(NamedTuple):
    """One layer y = σ(Wx + b): views of the network's parameters, writable in place."""

    weights: Floats  # (out, in)
    bias: Floats  # (out,)
    activation: str


class Network:
    """A dense network z = f(x; m).

    Parameters
    ----------
    sizes : sequence of int
        Number of inputs, of units in each hidden layer, and of outputs: [784, 30, 10].
    activation : str or sequence of str, default "sigmoid"
        Of the hidden layers: identity, sigmoid (or logistic), tanh, relu, softplus, silu, gelu, exp; one for all or one each.
    output : str, default "sigmoid"
        Of the output layer: one of the same, or softmax.
    seed : int, default 0
        Of the initial values: equal seeds give equal bits on every machine. Weights are uniform, after Glorot and Bengio
        (2010) or, for the relu family, He et al. (2015); biases are 0.
    dtype : {"float32", "float64"}, default "float32"
        Of the parameters, and of the native engine's arithmetic.
    engine : {"native", "reference"}, optional
        Default: native where it is installed; CHAINRULE_ENGINE overrides the default.

    Attributes
    ----------
    parameters : ndarray, (n_parameters,)
        m: V, v, U, u, ... of all layers; writable.
    layers : tuple of Layer
        Views of m: weights (out, in), bias (out,), and the activation's name.
    V, v, U, u : ndarray
        The same views of a two-layer network, by their textbook letters.

    Examples
    --------
    >>> net = Network([2, 3, 1], output="identity", seed=0, dtype="float64")
    >>> net.parameters.shape, net.V.shape, net.u.shape
    ((13,), (3, 2), (1,))
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str | Sequence[str] = "sigmoid",
        output: str = "sigmoid",
        seed: int = 0,
        dtype: npt.DTypeLike = "float32",
        engine: str | None = None,
    ) -> None:
        self.sizes = _check_sizes(sizes)
        hidden = len(self.sizes) - 2
        names = [activation] * hidden if isinstance(activation, str) else list(activation)
        if isinstance(activation, str):
            choose("activation", activation, ACTIVATIONS, ALIASES)
        if len(names) != hidden:
            raise ValueError(
                f"activation must be one name, or one for each of the {hidden} hidden layers; got {len(names)}"
            )
        self.activations = (
            *(choose("activation", name, ACTIVATIONS, ALIASES) for name in names),
            choose("output", output, OUTPUTS, ALIASES),
        )
        self.seed = data.check_integer("seed", seed, 0, 2**64 - 1)
        self.dtype: np.dtype[Any] = _check_dtype(dtype)
        self.engine = engines.resolve(engine)
        n_parameters = sum(o * (i + 1) for i, o in pairwise(self.sizes))
        _check_memory(n_parameters * self.dtype.itemsize, self.name)
        self._parameters: Floats = np.zeros(n_parameters, dtype=self.dtype)
        self.layers = self._views()
        self.initialise(seed)

    def _views(self) -> tuple[Layer, ...]:
        pairs = reference.layers(self._parameters, self.sizes)
        return tuple(Layer(W, b, a) for (W, b), a in zip(pairs, self.activations, strict=True))

    def initialise(self, seed: int) -> None:
        """Set the weights to the initial values of a seed, and the biases to 0; (60), (61)."""
        for k, layer in enumerate(self.layers):
            n_out, n_in = layer.weights.shape
            bound = np.sqrt(6 / (n_in + n_out)) if layer.activation in GLOROT else np.sqrt(6 / n_in)
            layer.weights[:] = (bound * (2 * uniform(seed, k, n_out * n_in) - 1)).reshape(n_out, n_in)
            layer.bias[:] = 0

    @property
    def name(self) -> str:
        """The sizes as they are spoken: "784-30-10"."""
        return "-".join(map(str, self.sizes))

    @property
    def parameters(self) -> Floats:
        """The parameters m, one flat array: V, v, U, u, ...; writable in place."""
        return self._parameters

    @parameters.setter
    def parameters(self, m: npt.ArrayLike) -> None:
        new = np.asarray(m)
        if new.shape != self._parameters.shape:
            raise ValueError(f"parameters must have shape {self._parameters.shape}; got {new.shape}")
        self._parameters[:] = new

    def __getattr__(self, name: str) -> Any:
        if name in LETTERS and "layers" in self.__dict__:
            if len(self.layers) != 2:
                raise AttributeError(
                    f"{name} is a letter of the two-layer network; this one has {len(self.layers)} layers: "
                    f"use layers[k].weights and layers[k].bias"
                )
            layer, part = LETTERS[name]
            return getattr(self.layers[layer], part)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in LETTERS:  # net.V = ... writes into m; a new attribute would silently part from it
            getattr(self, name)[...] = value
        else:
            super().__setattr__(name, value)

    def __repr__(self) -> str:
        activations = ", ".join(self.activations)
        return f"Network({list(self.sizes)}, {activations}; {len(self._parameters)} parameters, {self.dtype}, {self.engine})"

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "layers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.engine = engines.resolve(
            None if self.engine == "native" and not engines.instruction_sets() else self.engine
        )
        self.layers = self._views()

    def predict(self, X: npt.ArrayLike, *, n_threads: int = 1) -> Floats:
        """Z = f(x; m) for each row of X.

        Parameters
        ----------
        X : array, (n, d)
            float, or uint8: grey levels 0..255, which enter as 0..1. One row (d,) is taken as (1, d).
        n_threads : int, default 1
            The result does not depend on it.

        Returns
        -------
        Z : ndarray, (n, k)
            Of the network's dtype.
        """
        return self._answer(X, self.activations, n_threads)

    def logits(self, X: npt.ArrayLike, *, n_threads: int = 1) -> Floats:
        """Q = W y + b of the output layer for each row of X: what its activation is given.

        Of a sigmoid or a softmax it says more than Z does where that is next to 0 or 1.

        Parameters
        ----------
        X, n_threads
            As of `predict`.

        Returns
        -------
        Q : ndarray, (n, k)
            Of the network's dtype.
        """
        return self._answer(X, (*self.activations[:-1], "identity"), n_threads)

    def hidden(self, X: npt.ArrayLike, layer: int, *, n_threads: int = 1) -> Floats:
        """Y = σ(W y + b) of a hidden layer for each row of X: what its units answer.

        Parameters
        ----------
        X, n_threads
            As of `predict`.
        layer : int
            From 1, the one after the input.

        Returns
        -------
        Y : ndarray, (n, units)
            Of the network's dtype.
        """
        layer = data.check_integer("layer", layer, 1, len(self.layers) - 1)
        rows, sizes = data.as_rows(X, "X", self.sizes[0], self.dtype), self.sizes[: layer + 1]
        before = self._parameters[: sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))]
        n_threads = data.check_threads(n_threads)
        Y: Floats = engines.load(self.engine).predict(before, sizes, self.activations[:layer], rows, n_threads)
        return Y

    def _answer(self, X: npt.ArrayLike, activations: tuple[str, ...], n_threads: int) -> Floats:
        engine = engines.load(self.engine)
        Z: Floats | None = engine.plain_predict(self._parameters, self.sizes, activations, X)
        if Z is None:
            rows = data.as_rows(X, "X", self.sizes[0], self.dtype)
            n_threads = data.check_threads(n_threads)
            Z = engine.predict(self._parameters, self.sizes, activations, rows, n_threads)
        return Z

    def loss_and_gradient(
        self,
        X: npt.ArrayLike,
        L: npt.ArrayLike,
        *,
        loss: str = "half_squared_error",
        l2: float = 0.0,
        delta: float = 1.0,
        quantile: float | Sequence[float] = 0.5,
        label_smoothing: float = 0.0,
        sample_weight: npt.ArrayLike | None = None,
        n_threads: int = 1,
    ) -> tuple[float, Floats]:
        """Loss ε, the mean over rows, and its gradient ∂ε/∂m by back-propagation.

        Parameters
        ----------
        X : array, (n, d)
            Inputs, float or uint8.
        L : array, (n, k), or (n,) of labels 0..k-1
            What the outputs should be; of the gaussian loss half as many columns as there are outputs. Of several labels
            some may be missing, NaN: these count nothing.
        loss : str, default "half_squared_error"
            half_squared_error, huber, quantile: after any output; binary_cross_entropy: after sigmoid; cross_entropy: after
            softmax; poisson: after exp; gaussian: after identity, whose outputs are the means and then the logs of the
            variances. Terms that do not depend on the network are left out (docs/derivation.md, section 14).
        l2 : float, default 0
            λ: ½λ|W|² is added, over the weights, not the biases.
        delta : float, default 1
            δ of huber: errors up to it count by their square, larger ones by their size.
        quantile : float or sequence of float, default 0.5
            τ of the quantile loss, between 0 and 1; one for all outputs or one each.
        label_smoothing : float, default 0
            Of the cross-entropies: this share of each label is spread over all classes.
        sample_weight : array, (n,), optional
            Weighs the rows; scaled to mean 1.
        n_threads : int, default 1
            The result does not depend on it.

        Returns
        -------
        loss : float
        gradient : ndarray, (n_parameters,)
            Laid out like `parameters`.
        """
        aim = objective(
            loss, self.activations[-1], self.sizes[-1],
            l2=l2, delta=delta, quantile=quantile, label_smoothing=label_smoothing,
        )  # fmt: skip
        engine = engines.load(self.engine)
        if sample_weight is None:
            plain = engine.plain_loss_and_gradient(self._parameters, self.sizes, self.activations, X, L, aim)
            if plain is not None:
                return plain  # type: ignore[no-any-return]
        rows, labels, weight = self.examples(X, L, sample_weight, aim.loss)
        n_threads = data.check_threads(n_threads)
        value, gradient = engine.loss_and_gradient(
            self._parameters, self.sizes, self.activations, rows, labels, aim, weight, n_threads
        )
        return value, gradient

    def jacobian(self, X: npt.ArrayLike, *, n_threads: int = 1) -> Floats:
        """∂z/∂x for each row of X: how each output moves with each input.

        Parameters
        ----------
        X : array, (n, d)
            As `predict` takes it; by uint8 x is the grey level divided by 255.
        n_threads : int, default 1
            The result does not depend on it.

        Returns
        -------
        J : ndarray, (n, k, d)
            J[i, j] is the gradient of output j at row i; of the network's dtype.
        """
        rows = data.as_rows(X, "X", self.sizes[0], self.dtype)
        n_threads = data.check_threads(n_threads)
        J: Floats = engines.load(self.engine).jacobian(self._parameters, self.sizes, self.activations, rows, n_threads)
        return J

    def parameter_jacobian(self, X: npt.ArrayLike, *, n_threads: int = 1) -> Floats:
        """∂z/∂m for each row of X: how each output moves with each parameter.

        Parameters
        ----------
        X : array, (n, d)
            As `predict` takes it.
        n_threads : int, default 1
            The result does not depend on it.

        Returns
        -------
        J : ndarray, (n k, n_parameters)
            Row i k + j is the gradient of output j at row i, laid out like `parameters`; of the network's dtype.
        """
        rows = data.as_rows(X, "X", self.sizes[0], self.dtype)
        n_threads = data.check_threads(n_threads)
        J: Floats = engines.load(self.engine).parameter_jacobian(
            self._parameters, self.sizes, self.activations, rows, n_threads
        )
        return J

    def examples(
        self,
        X: npt.ArrayLike,
        L: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        loss: str = "half_squared_error",
    ) -> tuple[npt.NDArray[np.generic], Floats, Floats | None]:
        """Inputs (n, d), labels (n, k) of a loss, and weights (n,) with mean 1, checked, as the engines take them."""
        rows = data.as_rows(X, "X", self.sizes[0], self.dtype)
        if not len(rows):
            raise data.DataError("X has no rows; at least one example is needed")
        labels = data.as_labels(L, "L", len(rows), self.sizes[-1], self.dtype, LOSSES[loss].per_label)
        check_labels(labels, "L", loss)
        return rows, labels, data.as_weights(sample_weight, len(rows), self.dtype)


def _check_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    try:
        name = "None" if dtype is None else np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    return np.dtype(choose("dtype", name, ("float32", "float64")))


def _check_memory(parameters: int, name: str) -> None:
    """Refuse a network that this machine cannot hold twice, as training does, before the system kills the process."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not every system tells
        return
    if 2 * parameters > memory:
        raise ValueError(
            f"sizes {name} ask for {parameters / 1e9:.3g} GB of parameters, twice while it learns; this machine has "
            f"{memory / 1e9:.3g} GB. Use fewer units"
        )


def _check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        checked = tuple(data.check_integer(f"sizes[{i}]", n, 1, 2**31 - 1) for i, n in enumerate(sizes))
    except TypeError:
        raise ValueError(f"sizes must be a list of whole numbers, as [784, 30, 10]; got {sizes!r}") from None
    if len(checked) < 2:
        raise ValueError(f"sizes must name at least the inputs and the outputs, as [784, 30, 10]; got {list(checked)}")
    return checked

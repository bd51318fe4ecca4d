"""What others have found to help dense networks on tables, tried before it is built: one change at a time, in JAX.

A network as solver="auto" trains it on numbers as they are (recipes.by_batches), with one thing added; its error on other
rows beside that of the same network without. What pays here is worth building into the engine; what does not is left out.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from chainrule import Network
from chainrule.data import Scale
from chainrule.inputs import Inputs
from chainrule.recipes import CHECKS, by_batches
from chainrule.schedules import Schedule
from chainrule.tables import read_table
from development import Table

PERIODS, WIDE = 16, 0.3  # waves for each number, and the deviation of their frequencies at the start
FASTER = 6.0  # the rate of scales, as many times the others'
LATE, MEMORY = 0.7, 0.05  # averaging begins at that part of the training, over such a part of its steps
B1, B2, TINY = 0.9, 0.95, 1e-8


def prepare(table: Table, bins: int = 0):
    numbers, columns = read_table(table.X, "X")
    inputs = Inputs.learn(columns, numbers, "robust")
    rows = [inputs.encode(read_table(X, "X", columns)[0], bins) for X in (table.X, table.X_other)]
    scale = Scale.of(table.y[:, None], None)
    return *rows, scale.apply(table.y[:, None], np.float32), scale


def start(idea: str, inputs: int, hidden, seed: int):
    """The parameters: layers as the engine's generator makes them, and what an idea adds."""
    rng, extra = np.random.default_rng(seed), {}
    if idea == "periods":
        extra = {
            "f": WIDE * rng.standard_normal((inputs, PERIODS)),
            "b": np.pi * (2 * rng.random((inputs, PERIODS)) - 1),
        }
        extra |= {"w": rng.standard_normal((inputs, PERIODS, 3)) / PERIODS**0.5}
        wide = 4 * inputs
    else:
        wide = inputs
    network = Network([wide, *hidden, 1], activation="silu", seed=seed)
    layers = [(layer.weights.copy(), layer.bias.copy()) for layer in network.layers]
    if idea == "scaled inputs":
        extra = {"s": np.ones(inputs)}
    elif idea == "parametric activations":
        extra = {f"a{k}": np.ones(h) for k, h in enumerate(hidden)}
    elif idea == "linear shortcut":
        extra = {"A": np.zeros((1, inputs))}
    elif idea == "layer norm":
        extra = {f"g{k}": np.ones(h) for k, h in enumerate(hidden)} | {
            f"o{k}": np.zeros(h) for k, h in enumerate(hidden)
        }
    return jax.tree.map(lambda part: jnp.asarray(part, jnp.float32), (layers, extra))


def answer(idea: str, parameters, X):
    layers, extra = parameters
    Y = X
    if idea == "scaled inputs":
        Y = X * extra["s"]
    elif idea == "periods":
        waves = jnp.cos(2 * jnp.pi * X[:, :, None] * extra["f"] + extra["b"])
        Y = jnp.concatenate([X, jnp.einsum("ndp,dpw->ndw", waves, extra["w"]).reshape(len(X), -1)], axis=1)
    for k, (W, b) in enumerate(layers[:-1]):
        P = Y @ W.T + b
        if idea == "layer norm":
            P = (P - P.mean(1, keepdims=True)) / jnp.sqrt(P.var(1, keepdims=True) + 1e-5) * extra[f"g{k}"] + extra[
                f"o{k}"
            ]
        H = jax.nn.silu(P)
        if idea == "parametric activations":
            H = extra[f"a{k}"] * H + (1 - extra[f"a{k}"]) * P
        Y = Y + H if idea == "residual" and k > 0 else H
    W, b = layers[-1]
    Z = Y @ W.T + b
    return Z + X @ extra["A"].T if idea == "linear shortcut" else Z


ask = jax.jit(answer, static_argnums=0)

IDEAS = {
    "scaled inputs": "a learned factor for each input, at 6 times the rate (Holzmüller et al. 2024)",
    "parametric activations": "α silu(p) + (1 − α) p, α learned for each unit (Holzmüller et al. 2024)",
    "periods": "waves of learned frequencies for each number (Gorishniy et al. 2022)",
    "residual": "each layer adds to what enters it",
    "linear shortcut": "a linear model is added to the answer",
    "layer norm": "each layer's sums to mean 0 and deviation 1 within a row",
    "weight averaging": "the parameters' moving average answers (Polyak and Juditsky 1992)",
}


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def run_epoch(idea, carry, X, L, order, rates, steps):
    faster = {name: FASTER if name == "s" else 1.0 for name in carry[0][1]}

    def loss(parameters, x, l):
        return 0.5 * jnp.mean((answer(idea, parameters, x) - l) ** 2)

    def step(carry, now):
        parameters, m, v, average, t = carry
        rows, rate = now
        gradient = jax.grad(loss)(parameters, X[rows], L[rows])
        m = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, m, gradient)
        v = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g * g, v, gradient)
        t = t + 1

        def moved(p, m, v, decay, factor=1.0):
            return p * (1 - rate * decay) - factor * rate * (m / (1 - B1**t)) / (jnp.sqrt(v / (1 - B2**t)) + TINY)

        layers = [
            (moved(W, mW, vW, 0.02), moved(b, mb, vb, 0.0))
            for (W, b), (mW, mb), (vW, vb) in zip(parameters[0], m[0], v[0], strict=True)
        ]
        extra = {k: moved(p, m[1][k], v[1][k], 0.0, faster[k]) for k, p in parameters[1].items()}
        parameters = (layers, extra)
        keep = jnp.where(t > LATE * steps, 1 - 1 / jnp.minimum(t - LATE * steps + 1, MEMORY * steps + 1), 0.0)
        average = jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, average, parameters)
        return (parameters, m, v, average, t), None

    return jax.lax.scan(step, carry, (order, rates))[0]


def error(idea: str, table: Table, seed: int = 0, schedule: str = "onecycle", bins: int = 0) -> float:
    """Root mean squared error on other rows, at the best of some times, of a network alone, with the idea or, "", without."""
    X, X_other, L, scale = prepare(table, bins)
    recipe = by_batches(len(X), table=False)[0]
    batch = min(recipe.batch_size, len(X))
    steps = len(X) // batch
    plan = Schedule(schedule, recipe.learning_rate, recipe.epochs, steps, len(X)).rates(0, recipe.epochs, 0)
    rates = np.broadcast_to(plan, recipe.epochs * steps).astype(np.float32).reshape(recipe.epochs, steps)
    parameters = start(idea, X.shape[1], recipe.hidden, seed)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    carry = (parameters, zeros, jax.tree.map(jnp.copy, zeros), jax.tree.map(jnp.copy, parameters), jnp.float32(0))
    rng = np.random.default_rng(seed)
    X, L, X_other, lowest = jnp.asarray(X), jnp.asarray(L), jnp.asarray(X_other), np.inf
    for epoch in range(recipe.epochs):
        order = rng.permutation(len(X))[: steps * batch].reshape(steps, batch)
        carry = run_epoch(idea, carry, X, L, order, rates[epoch], float(recipe.epochs * steps))
        if (epoch + 1) % -(-recipe.epochs // CHECKS) == 0 or epoch + 1 == recipe.epochs:
            chosen = carry[3] if idea == "weight averaging" else carry[0]
            z = scale.undo(np.asarray(ask(idea, chosen, X_other), dtype=np.float64))[:, 0]
            lowest = min(lowest, float(np.sqrt(np.mean((z - table.y_other) ** 2))))
    return lowest

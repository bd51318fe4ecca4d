"""What others have found to help dense networks on tables, tried before it is built: one change at a time, in JAX.

A network as solver="auto" trains it (recipes.by_batches), with one thing added; its error on other rows beside that of the
same network without. What pays is worth building into the engine; what does not is left out.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from chainrule.auto.recipes import CHECKS, by_batches
from chainrule.data import Scale
from chainrule.inputs import Inputs
from chainrule.problem import Problem
from chainrule.reference import within_columns
from chainrule.schedules import Schedule
from chainrule.tables import read_table
from chainrule.training import begin_embedding
from development import Table

FASTER = 6.0  # the rate of scales, as many times the others'
LATE, MEMORY = 0.7, 0.05  # averaging begins at that part of the training, over such a part of its steps
B1, TINY = 0.9, 1e-8

IDEAS = {
    "scaled columns": "a learned factor for each embedded number, at 6 times the rate (Holzmüller et al. 2024)",
    "parametric activations": "α silu(p) + (1 − α) p, α learned for each unit (Holzmüller et al. 2024)",
    "residual": "a layer adds to what enters it (He et al. 2016)",
    "linear shortcut": "a linear model is added to the answer",
    "layer norm": "a layer's sums to mean 0 and deviation 1 within a row (Ba et al. 2016)",
    "weight averaging": "the parameters' moving average answers (Polyak and Juditsky 1992)",
}


def start(idea: str, network, columns):
    """The parameters: layers as the package begins with them, and what an idea adds."""
    begin_embedding(network, columns)
    layers = [(layer.weights.copy(), layer.bias.copy()) for layer in network.layers]
    hidden = network.sizes[2:-1]
    extra = {
        "scaled columns": {"s": np.ones(network.sizes[1])},
        "parametric activations": {f"a{k}": np.ones(h) for k, h in enumerate(hidden)},
        "linear shortcut": {"A": np.zeros((1, network.sizes[0]))},
        "layer norm": {f"{n}{k}": np.full(h, float(n == "g")) for n in "go" for k, h in enumerate(hidden)},
    }.get(idea, {})
    return jax.tree.map(lambda part: jnp.asarray(part, jnp.float32), (layers, extra))


def answer(idea: str, parameters, X):
    (first, *hidden, last), extra = parameters
    Y = X @ first[0].T + first[1]
    Y = Y * extra["s"] if idea == "scaled columns" else Y
    for k, (W, b) in enumerate(hidden):
        P = Y @ W.T + b
        if idea == "layer norm":
            P = (P - P.mean(1, keepdims=True)) / jnp.sqrt(P.var(1, keepdims=True) + 1e-5) * extra[f"g{k}"] + extra[
                f"o{k}"
            ]
        H = jax.nn.silu(P)
        if idea == "parametric activations":
            H = extra[f"a{k}"] * H + (1 - extra[f"a{k}"]) * P
        Y = Y + H if idea == "residual" and k > 0 else H
    Z = Y @ last[0].T + last[1]
    return Z + X @ extra["A"].T if idea == "linear shortcut" else Z


ask = jax.jit(answer, static_argnums=0)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def run_epoch(idea, how, carry, mask, X, L, order, rates):
    decay, beta2, steps = how

    def loss(parameters, x, l):
        return 0.5 * jnp.mean((answer(idea, parameters, x) - l) ** 2)

    def step(carry, now):
        parameters, m, v, average, t = carry
        rows, rate = now
        gradient = jax.grad(loss)(parameters, X[rows], L[rows])
        (W, b), *others = gradient[0]
        gradient = ([(W * mask, b), *others], gradient[1])  # (99)
        m = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, m, gradient)
        v = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, v, gradient)
        t = t + 1

        def moved(p, m, v, decay, factor=1.0):
            return p * (1 - rate * decay) - factor * rate * (m / (1 - B1**t)) / (jnp.sqrt(v / (1 - beta2**t)) + TINY)

        layers = [
            (moved(W, mW, vW, decay), moved(b, mb, vb, 0.0))
            for (W, b), (mW, mb), (vW, vb) in zip(parameters[0], m[0], v[0], strict=True)
        ]
        extra = {k: moved(p, m[1][k], v[1][k], 0.0, FASTER if k == "s" else 1.0) for k, p in parameters[1].items()}
        parameters = (layers, extra)
        keep = jnp.where(t > LATE * steps, 1 - 1 / jnp.minimum(t - LATE * steps + 1, MEMORY * steps + 1), 0.0)
        average = jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, average, parameters)
        return (parameters, m, v, average, t), None

    return jax.lax.scan(step, carry, (order, rates))[0]


def error(idea: str, table: Table, seed: int = 0) -> float:
    """Root mean squared error on other rows, at the best of some times, of a network alone, with the idea or, "", without."""
    numbers, described = read_table(table.X, "X")
    inputs = Inputs.learn(described, numbers, "robust")
    problem = Problem("half_squared_error", "identity", 1, {})
    recipe = by_batches(len(numbers), inputs, problem, {})[0]
    X, X_other = (
        jnp.asarray(inputs.encode(read_table(rows, "X", described)[0], recipe.form))
        for rows in (table.X, table.X_other)
    )
    scale = Scale.of(table.y[:, None], None)
    L = jnp.asarray(scale.apply(table.y[:, None], np.float32))
    columns = tuple(inputs.groups(recipe.form))
    network = problem.network(recipe, X.shape[1], len(inputs.used), seed)
    mask = jnp.asarray(within_columns(columns, network.sizes[1]), jnp.float32)
    batch = min(recipe.batch_size, len(X))
    steps = len(X) // batch
    plan = Schedule(recipe.schedule, recipe.learning_rate, recipe.epochs, steps, len(X)).rates(0, recipe.epochs, 0)
    rates = np.broadcast_to(plan, recipe.epochs * steps).astype(np.float32).reshape(recipe.epochs, steps)
    parameters = start(idea, network, columns)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    copies = [jax.tree.map(jnp.copy, part) for part in (zeros, parameters)]
    carry = (parameters, zeros, *copies, jnp.float32(0))
    how = (recipe.weight_decay, recipe.beta2, float(recipe.epochs * steps))
    rng, lowest = np.random.default_rng(seed), np.inf
    for epoch in range(recipe.epochs):
        order = rng.permutation(len(X))[: steps * batch].reshape(steps, batch)
        carry = run_epoch(idea, how, carry, mask, X, L, order, rates[epoch])
        if (epoch + 1) % -(-recipe.epochs // CHECKS) == 0 or epoch + 1 == recipe.epochs:
            chosen = carry[3] if idea == "weight averaging" else carry[0]
            z = scale.undo(np.asarray(ask(idea, chosen, X_other), dtype=np.float64))[:, 0]
            lowest = min(lowest, float(np.sqrt(np.mean((z - table.y_other) ** 2))))
    return lowest

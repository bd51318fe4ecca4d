"""The trainings that are timed, and who does them: chainrule, JAX, PyTorch, scikit-learn.

Everything here but `Task` runs in a worker, a process that is bound to its cores before it imports a library. A method is
made of a task, start parameters [V, v, U, u, ...] and data; it gives a function that runs an epoch, and one that returns
the parameters. An epoch may return its own seconds.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, replace
from itertools import pairwise

TURN = 0.1  # seconds: epochs shorter than that are repeated, and the best counts
CHECKED_STEPS = {"sgd": 20, "adam": 5}  # where gradients are small, Adam divides rounding by rounding, and it grows
CHECKED_FLOPS = 4e9  # large networks are checked with fewer steps, at least two
EPSILON = 1e-12  # of Adam: scikit-learn adds it in another place, which must not matter; time does not depend on it
GAIN = {"sigmoid": 3.0, "relu": 2**0.5}  # of the start weights, so that the first of many layers moves too
SCIKIT = {"sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}  # the hidden activations that scikit-learn has


@dataclass(frozen=True)
class Task:
    """A network and how it is trained: rows of uniform random data, in whole batches, shuffled unless the batch is full."""

    sizes: tuple[int, ...]
    batch: int
    rows: int
    activation: str = "sigmoid"
    output: str = "sigmoid"
    solver: str = "sgd"
    passes: int = 1  # over all rows in one call: more than one only where a step is an epoch
    shuffle: bool = True

    @property
    def name(self) -> str:
        """Sizes, what is not sigmoid and SGD, and the batch."""
        shown = [self.activation] * (self.activation != "sigmoid" and len(self.sizes) > 2)
        shown += [self.output] * (self.output != "sigmoid") + ["Adam"] * (self.solver == "adam")
        batch = "full batch" if self.full else f"batch {self.batch}"
        return " ".join(["-".join(map(str, self.sizes)), *shown, batch])

    @property
    def full(self) -> bool:
        return self.batch == self.rows

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.rows // self.batch

    @property
    def flops(self) -> float:
        """Of an epoch: 2 per multiply-add of forward pass, weight gradient, and delta of every layer but the first."""
        products = [i * o for i, o in pairwise(self.sizes)]
        return 2.0 * self.rows * (3 * sum(products) - products[0])

    @property
    def rate(self) -> float:
        """A rate at which no network of these diverges; time does not depend on it."""
        if self.solver == "adam":
            return 0.001
        return min(0.02, 1 / (self.sizes[-2] if self.activation == "sigmoid" else sum(self.sizes[:-1])))

    @property
    def loss(self) -> str:
        return "cross_entropy" if self.output == "softmax" else "half_squared_error"

    @property
    def scikit_output(self) -> str:
        """The output layer that scikit-learn has for this loss: it is compared with a network of that kind."""
        return "softmax" if self.output == "softmax" else "identity"

    @property
    def checked(self) -> Task:
        """The first steps, in order."""
        steps = int(max(2, min(CHECKED_STEPS[self.solver], CHECKED_FLOPS * self.steps / self.flops)))
        if self.full:
            return replace(self, passes=steps, shuffle=False)
        return replace(self, rows=min(steps * self.batch, self.rows), shuffle=False)

    def shortened(self, rows: int) -> Task:
        """With about as many rows, for a quick look."""
        return self if self.full else replace(self, rows=min(self.rows, max(2, rows // self.batch) * self.batch))


def example(task: Task):
    """X (n, d) and L (n, k); classes are one-hot, and all there from the first rows on."""
    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.random((task.rows, task.sizes[0]), dtype="f")
    if task.output == "softmax":
        L = np.zeros((task.rows, task.sizes[-1]), "f")
        L[np.arange(task.rows), np.arange(task.rows) % task.sizes[-1]] = 1
    else:
        L = rng.random((task.rows, task.sizes[-1]), dtype="f")
    return X, L


def start_of(task: Task):
    """The parameters [V, v, U, u, ...] that every method starts from."""
    import numpy as np

    rng, start = np.random.default_rng(1), []
    for d, h in pairwise(task.sizes):
        start.append((GAIN.get(task.activation, 1.0) / d**0.5 * rng.standard_normal((h, d))).astype("f"))
        start.append(np.zeros(h, "f"))
    return start


# ---- the methods ---------------------------------------------------------------------------------------------------------


def chainrule_train(task: Task, start, X, L, threads):
    import numpy as np

    import chainrule

    network = chainrule.Network(task.sizes, activation=task.activation, output=task.output)
    network.parameters = np.concatenate([a.ravel() for a in start])

    def epoch():  # its own seconds: the check of all rows for NaN is made once a call of train, not once an epoch
        return chainrule.train(
            network, X, L, loss=task.loss, solver=task.solver, batch_size=task.batch, learning_rate=task.rate,
            epochs=task.passes, epsilon=EPSILON, n_threads=threads, shuffle=task.shuffle and not task.full,
        ).seconds[0]  # fmt: skip

    return epoch, lambda: [a for layer in network.layers for a in (layer.weights, layer.bias)]


def jax_scan(task: Task, start, X, L, threads, inputs_first):
    """The whole epoch compiled; weights (out, in), or (in, out), which suits XLA better for some shapes."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    functions = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu, "silu": jax.nn.silu}

    def turned(a):
        return a.T if inputs_first and a.ndim == 2 else a

    def loss(m, x, l):
        for i in range(0, len(m), 2):
            x = x @ (m[i] if inputs_first else m[i].T) + m[i + 1]
            x = functions.get(task.activation if i + 2 < len(m) else task.output, lambda q: q)(x)
        if task.output == "softmax":
            return -jnp.sum(l * jax.nn.log_softmax(x)) / task.batch
        return 0.5 * jnp.sum((x - l) ** 2) / task.batch

    def step(state, x, l):
        m, mean, square, t = state
        e, g = jax.value_and_grad(loss)(m, x, l)
        if task.solver == "sgd":
            return (jax.tree.map(lambda a, b: a - task.rate * b, m, g), mean, square, t), e
        t = t + 1
        mean = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, mean, g)
        square = jax.tree.map(lambda a, b: 0.999 * a + 0.001 * b * b, square, g)
        rate, spread = task.rate / (1 - 0.9**t), 1 / jnp.sqrt(1 - 0.999**t)
        m = jax.tree.map(lambda a, b, c: a - rate * b / (jnp.sqrt(c) * spread + EPSILON), m, mean, square)
        return (m, mean, square, t), e

    @functools.partial(jax.jit, donate_argnums=0)
    def scan(state, X, L, batches):
        if task.full:
            return jax.lax.scan(lambda state, _: step(state, X, L), state, length=task.passes)
        return jax.lax.scan(lambda state, i: step(state, X[i], L[i]), state, batches)

    m = [jnp.array(turned(a)) for a in start]
    none = [jnp.zeros_like(a) for a in m] if task.solver == "adam" else []
    held = [(m, none, [jnp.copy(a) for a in none], jnp.zeros((), "f"))]
    x, l = jnp.asarray(X), jnp.asarray(L)
    rng = np.random.default_rng(0)

    def order():
        rows = rng.permutation(task.rows) if task.shuffle and not task.full else np.arange(task.rows)
        return jnp.asarray(rows.reshape(-1, task.batch).astype(np.int32))

    compiled = scan.lower(held[0], x, l, order()).compile()

    def epoch():
        held[0], e = compiled(held[0], x, l, order())
        e.block_until_ready()

    return epoch, lambda: [np.asarray(turned(a)) for a in held[0][0]]


def torch_loop(task: Task, start, X, L, threads):
    import torch

    torch.set_num_threads(threads)
    modules = {"sigmoid": torch.nn.Sigmoid, "tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "silu": torch.nn.SiLU}
    layers: list[torch.nn.Module] = []
    for i, (d, h) in enumerate(pairwise(task.sizes)):
        layers.append(torch.nn.Linear(d, h))
        activation = task.activation if i + 2 < len(task.sizes) else task.output
        layers += [modules[activation]()] if activation in modules else []
    net = torch.nn.Sequential(*layers)
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), start, strict=True):
            parameter.copy_(torch.from_numpy(value))
    if task.solver == "adam":
        optimizer = torch.optim.Adam(net.parameters(), lr=task.rate, eps=EPSILON, fused=True)
    else:
        optimizer = torch.optim.SGD(net.parameters(), lr=task.rate)
    x = torch.from_numpy(X)
    l = torch.from_numpy(L.argmax(1) if task.output == "softmax" else L)

    def loss(z, l):
        if task.output == "softmax":
            return torch.nn.functional.cross_entropy(z, l)
        return 0.5 * ((z - l) ** 2).sum() / len(l)

    def epoch():
        if task.full:
            batches = [slice(None)] * task.passes
        else:
            order = torch.randperm(task.rows) if task.shuffle else torch.arange(task.rows)
            batches = order.split(task.batch)
        for j in batches:
            optimizer.zero_grad(set_to_none=True)
            loss(net(x[j]), l[j]).backward()
            optimizer.step()

    return epoch, lambda: [p.detach().numpy() for p in net.parameters()]


def scikit_learn(task: Task, start, X, L, threads):
    import numpy as np
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    classes = task.output == "softmax"
    model = (MLPClassifier if classes else MLPRegressor)(
        hidden_layer_sizes=task.sizes[1:-1], activation=SCIKIT[task.activation], solver=task.solver,
        batch_size=task.batch, learning_rate_init=task.rate, momentum=0, epsilon=EPSILON, alpha=0, max_iter=task.passes,
        tol=0, n_iter_no_change=np.inf, shuffle=task.shuffle and not task.full, warm_start=True,
    )  # fmt: skip
    y = L.argmax(1) if classes else L if L.shape[1] > 1 else L[:, 0]
    few = max(task.batch, task.sizes[-1]) if classes else task.batch
    model.fit(X[:few], y[:few])  # makes the arrays
    for held, value in zip(model.coefs_, start[::2], strict=True):
        held[...] = value.T
    for held, value in zip(model.intercepts_, start[1::2], strict=True):
        held[...] = value

    def epoch():
        model.fit(X, y)

    return epoch, lambda: [a for W, b in zip(model.coefs_, model.intercepts_, strict=True) for a in (W.T, b)]


# The fastest of a method's forms counts.
METHODS = {
    "chainrule": [chainrule_train],
    "jax": [functools.partial(jax_scan, inputs_first=order) for order in (False, True)],
    "torch": [torch_loop],
    "scikit-learn": [scikit_learn],
}


def can(method: str, task: Task) -> bool:
    return method != "scikit-learn" or task.activation in SCIKIT


# ---- what a worker is asked ----------------------------------------------------------------------------------------------

_ready = {}  # "turn": the epoch that is timed in this worker


def learn(method: str, task: Task, threads: int) -> dict[str, list]:
    """Where the first steps lead, by the activation of the output layer: one list of parameters for each form."""
    X, L = example(task.checked)
    start = start_of(task)
    outputs = {"chainrule": {task.output, task.scikit_output}, "scikit-learn": {task.scikit_output}}
    learned = {}
    for output in outputs.get(method, {task.output}):
        learned[output] = []
        for form in METHODS[method]:
            epoch, parameters = form(replace(task.checked, output=output), start, X, L, threads)
            epoch()
            learned[output].append([a.copy() for a in parameters()])
    return learned


def prepare(method: str, task: Task, threads: int) -> None:
    """Make the data and the method, compile, warm up, and keep the fastest form."""
    _ready.clear()  # the last task's data, before there are new
    X, L = example(task)
    epochs = [form(task, start_of(task), X, L, threads)[0] for form in METHODS[method]]
    warm = [best(epoch) for epoch in epochs]
    _ready["turn"] = epochs[warm.index(min(warm))], task.passes


def turn() -> float:
    """Seconds of an epoch, the best of those that fit into a turn."""
    return best(*_ready["turn"])


def best(epoch, passes: int = 1) -> float:
    least, end = float("inf"), time.perf_counter() + TURN
    while True:
        begin = time.perf_counter()
        measured = epoch()
        now = time.perf_counter()
        least = min(least, (now - begin) / passes if measured is None else measured)
        if now >= end:
            return least


def sgemm(n: int = 1536) -> float:
    """GF/s of NumPy's matrix product, the best of a turn."""
    import numpy as np

    if "factors" not in _ready:
        _ready["factors"] = [np.random.default_rng(s).random((n, n), dtype="f") for s in (1, 2, 3)]
    a, b, c = _ready["factors"]

    def product():
        np.matmul(a, b, out=c)

    return 2 * n**3 / best(product) / 1e9


def differences(task: Task, ours: list, theirs: list) -> dict[str, float]:
    """How far two methods are apart in each array, as a fraction of how far it moved, beyond the rounding of its steps.

    Means, not maxima: rounding alone may wake a rectifier that slept, and Adam then moves its weights by whole steps.
    """
    import numpy as np

    steps = task.checked.passes * task.checked.steps
    found = {}
    for i, (a, b, begin) in enumerate(zip(ours, theirs, start_of(task), strict=True)):
        moved, apart, rounding = (np.abs(d).mean() for d in (a - begin, a - b, np.finfo("f").eps * steps**0.5 * a))
        found[f"{'Wb'[i % 2]}{i // 2 + 1}"] = float(max(0.0, apart - rounding) / moved) if moved > 0 else np.inf
    return found

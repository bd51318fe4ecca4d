"""The project beside PyTorch, JAX (jit + scan) and scikit-learn: an epoch of mini-batch gradient descent on one network.

    make bench                          one core, then all cores; writes build/bench.json and docs/images/speed.svg
    make bench BENCH="--threads 1 --only 784-30-10 --quick"

Every method takes the same mean-over-batch steps on the same data, sigmoids and half the squared error (scikit-learn's
output is the identity, so it is held against the project's network of that kind). Before anything is timed, twenty steps
from equal parameters must give equal parameters. Then the methods take turns, epoch by epoch, the others stopped, and the
best of some epochs counts; compile time does not. GF/s counts 2 flops per multiply-add of forward pass, weight gradient and
hidden delta, and stands beside the sgemm of the same run. Every method runs in a process of its own, bound to the same cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import signal
import sys
import time
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
RATE = 0.02  # small, so that rounding is not amplified while equality is checked; time does not depend on it
CHECKED_STEPS = 20


@dataclass(frozen=True)
class Line:
    """One network and batch: sizes d-h-k, n rows of random data in [0, 1)."""

    sizes: tuple[int, int, int]
    batch: int
    rows: int

    @property
    def name(self) -> str:
        return f"{'-'.join(map(str, self.sizes))} batch {self.batch}"

    @property
    def flops(self) -> float:
        d, h, k = self.sizes
        return 2.0 * self.rows * (2 * d * h + 3 * h * k)


LINES = [
    Line((784, 30, 10), 10, 60_000),
    Line((784, 100, 10), 10, 60_000),
    Line((784, 300, 10), 32, 60_000),
    Line((784, 800, 10), 128, 60_000),
    Line((8, 50, 1), 32, 1_000),
    Line((784, 30, 10), 1, 10_000),
]


# ---- the methods: each makes one epoch, which may return its own seconds, and the parameters ------------------------------


def chainrule_network(line, start, X, L, threads, output="sigmoid"):
    import numpy as np

    import chainrule

    network = chainrule.Network(line.sizes, activation="sigmoid", output=output)
    network.parameters = np.concatenate([a.ravel() for a in start])

    def epoch():  # its own seconds: the check of all rows for NaN is made once a call of train, not once an epoch
        return chainrule.train(
            network, X, L, batch_size=line.batch, learning_rate=RATE, epochs=1, n_threads=threads, shuffle=len(X) == line.rows
        ).seconds[0]  # fmt: skip

    return epoch, lambda: [network.V, network.v, network.U, network.u]


def torch_loop(line, start, X, L, threads):
    import torch

    torch.set_num_threads(threads)
    d, h, k = line.sizes
    net = torch.nn.Sequential(torch.nn.Linear(d, h), torch.nn.Sigmoid(), torch.nn.Linear(h, k), torch.nn.Sigmoid())
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), start, strict=True):
            parameter.copy_(torch.from_numpy(value))
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    x, l = torch.from_numpy(X), torch.from_numpy(L)

    def epoch():
        order = torch.randperm(len(X)) if len(X) == line.rows else torch.arange(len(X))
        for i in range(0, len(X), line.batch):
            j = order[i : i + line.batch]
            optimizer.zero_grad(set_to_none=True)
            (0.5 * ((net(x[j]) - l[j]) ** 2).sum() / len(j)).backward()
            optimizer.step()

    return epoch, lambda: [p.detach().numpy() for p in net.parameters()]


def jax_scan(line, start, X, L, threads):
    import jax
    import jax.numpy as jnp
    import numpy as np

    def loss(m, x, l):
        V, v, U, u = m
        z = jax.nn.sigmoid(jax.nn.sigmoid(x @ V.T + v) @ U.T + u)
        return 0.5 * jnp.sum((z - l) ** 2) / line.batch

    @jax.jit
    def scan(m, X, L, batches):
        def step(m, i):
            e, g = jax.value_and_grad(loss)(m, X[i], L[i])
            return jax.tree.map(lambda a, b: a - RATE * b, m, g), e

        return jax.lax.scan(step, m, batches)

    held = [tuple(map(jnp.asarray, start))]
    x, l = jnp.asarray(X), jnp.asarray(L)
    rng = np.random.default_rng(0)

    def epoch():
        order = rng.permutation(len(X)) if len(X) == line.rows else np.arange(len(X))
        batches = jnp.asarray(order[: len(X) // line.batch * line.batch].reshape(-1, line.batch))
        held[0], e = scan(held[0], x, l, batches)
        e.block_until_ready()

    return epoch, lambda: [np.asarray(a) for a in held[0]]


def scikit_learn(line, start, X, L, threads):
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(
        hidden_layer_sizes=line.sizes[1:2], activation="logistic", solver="sgd", batch_size=line.batch,
        learning_rate_init=RATE, momentum=0, alpha=0, max_iter=1, tol=0, shuffle=len(X) == line.rows,
    )  # fmt: skip
    y = L if L.shape[1] > 1 else L[:, 0]
    model.partial_fit(X[: line.batch], y[: line.batch])
    V, v, U, u = start
    for held, value in zip([*model.coefs_, *model.intercepts_], [V.T, U.T, v, u], strict=True):
        held[...] = value

    def epoch():
        model.partial_fit(X, y)

    return epoch, lambda: [model.coefs_[0].T, model.intercepts_[0], model.coefs_[1].T, model.intercepts_[1]]


METHODS = {"chainrule": chainrule_network, "jax": jax_scan, "torch": torch_loop, "scikit-learn": scikit_learn}


def serve(method: str, line: Line, threads: int, cores: list[int], pipe) -> None:
    """One method in a process of its own, bound to its cores before any library is imported; answers until told to stop."""
    os.sched_setaffinity(0, cores)
    warnings.filterwarnings("ignore")
    X, L, start = example(line)
    if method == "sgemm":
        pipe.send(sgemm())
        return
    few = slice(0, CHECKED_STEPS * line.batch)
    kinds = ("sigmoid", "identity") if method == "chainrule" else (None,)
    for kind in kinds:  # equal steps from equal parameters, to be compared
        arguments = [line, [a.copy() for a in start], X[few], L[few], threads, *([kind] if kind else [])]
        epoch, parameters = METHODS[method](*arguments)
        epoch()
        pipe.send([a.copy() for a in parameters()])
    epoch, _ = METHODS[method](line, start, X, L, threads)
    while pipe.recv() == "epoch":
        begin = time.perf_counter()
        measured = epoch()
        pipe.send(time.perf_counter() - begin if measured is None else measured)


def example(line: Line):
    import numpy as np

    rng = np.random.default_rng(0)
    d, h, k = line.sizes
    X, L = rng.random((line.rows, d), dtype="f"), rng.random((line.rows, k), dtype="f")
    V, U = ((rng.standard_normal(s) / s[1] ** 0.5).astype("f") for s in ((h, d), (k, h)))
    return X, L, [V, np.zeros(h, "f"), U, np.zeros(k, "f")]


def check_equal(line: Line, truth, others) -> None:
    import numpy as np

    start = example(line)[2]
    for name, parameters in others.items():
        ours = truth["identity" if name == "scikit-learn" else "sigmoid"]
        for letter, a, b, begin in zip("VvUu", ours, parameters, start, strict=True):
            moved = np.abs(a - begin).max()
            apart = np.abs(a - b).max() / moved
            if not apart < 2e-3 or moved == 0:
                raise SystemExit(f"{line.name}: {name} disagrees in {letter} by {apart:.1e} of what {letter} moved")


def measure(line: Line, threads: int, cores: list[int], epochs: int) -> list[dict[str, object]]:
    """All methods on one line, in turns."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for method in METHODS:
        pipes[method], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(method, line, threads, cores, theirs), daemon=True))
        processes[-1].start()
        theirs.close()
    truth = {kind: pipes["chainrule"].recv() for kind in ("sigmoid", "identity")}
    check_equal(line, truth, {method: pipes[method].recv() for method in METHODS if method != "chainrule"})
    best = dict.fromkeys(METHODS, float("inf"))
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    for turn in range(epochs + 1):
        for (method, pipe), process in zip(pipes.items(), processes, strict=True):
            os.kill(process.pid, signal.SIGCONT)
            for _ in range(10 if line.rows < 5_000 else 1):
                pipe.send("epoch")
                seconds = pipe.recv()
                if turn:  # the first warms up and compiles
                    best[method] = min(best[method], seconds)
            os.kill(process.pid, signal.SIGSTOP)  # its threads may spin for a while, at the cost of the next in turn
    for pipe, process in zip(pipes.values(), processes, strict=True):
        os.kill(process.pid, signal.SIGCONT)
        pipe.send("stop")
        process.join()
    ours, theirs = context.Pipe()
    probe = context.Process(target=serve, args=("sgemm", line, threads, cores, theirs))
    probe.start()
    peak = ours.recv()
    probe.join()
    return [
        {
            "line": line.name, "threads": threads, "method": method, "seconds": seconds,
            "us_per_step": seconds / -(-line.rows // line.batch) * 1e6, "gflops": line.flops / seconds / 1e9,
            "ratio": seconds / best["chainrule"], "sgemm": peak,
        }
        for method, seconds in best.items()
    ]  # fmt: skip


def sgemm(n: int = 1536) -> float:
    """GF/s of the machine's own matrix product, best of four."""
    import numpy as np

    a, b = (np.random.default_rng(s).random((n, n), dtype="f") for s in (1, 2))
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - begin)
    return 2 * n**3 / best / 1e9


def report(result: dict[str, object]) -> None:
    print(
        f"{result['line']:<22}{result['method']:<14}{result['seconds'] * 1e3:>10.2f} ms{result['us_per_step']:>10.2f} us"
        f"{result['gflops']:>8.1f}{100 * result['gflops'] / result['sgemm']:>7.0f} %{result['ratio']:>8.2f} x",
        flush=True,
    )


def draw(results: list[dict[str, object]], path: Path) -> None:
    """How many times slower each peer is, per line, for each number of cores."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "chainrule"
    counts = sorted({r["threads"] for r in results})
    lines = list(dict.fromkeys(r["line"] for r in results))
    figure, axes = plt.subplots(1, len(counts), figsize=(5.2 * len(counts), 3.4), sharey=True, squeeze=False)
    for axis, threads in zip(axes[0], counts, strict=True):
        for i, name in enumerate(list(METHODS)[1:]):
            ratios = [next(r["ratio"] for r in results if (r["line"], r["threads"], r["method"]) == (line, threads, name))
                      for line in lines]  # fmt: skip
            places = [j + (i - 1) * 0.26 for j in range(len(lines))]
            bars = axis.barh(places, ratios, height=0.24, label=name)
            axis.bar_label(bars, [f"{r:.1f}" if r < 10 else f"{r:.0f}" for r in ratios], padding=2, fontsize=7)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set(xscale="log", xlim=(0.5, 250), title=f"{threads} core{'s' if threads > 1 else ''}",
                 xlabel="time of an epoch, chainrule = 1")  # fmt: skip
        axis.set_yticks(range(len(lines)), lines, fontsize=8)
        axis.set_xticks([1, 10, 100], ["1", "10", "100"])
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].invert_yaxis()
    figure.legend(*axes[0][0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="upper center", ncols=3)
    figure.tight_layout(rect=(0, 0, 1, 0.96))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="cores to use (default: one, then all)")
    parser.add_argument("--only", default="", help="lines whose name contains this")
    parser.add_argument("--quick", action="store_true", help="fewer rows and epochs")
    parser.add_argument("--epochs", type=int, default=5, help="timed epochs; the best counts")
    options = parser.parse_args()
    lines = [line for line in LINES if options.only in line.name]
    if options.quick:
        lines = [Line(line.sizes, line.batch, min(line.rows, 10_000)) for line in lines]
        options.epochs = 2
    if not lines:
        parser.error(f"no line contains {options.only!r}; there are {', '.join(line.name for line in LINES)}")
    cores = sorted(os.sched_getaffinity(0))
    results = []
    packages = ", ".join(f"{p} {version(p)}" for p in ("chainrule", "jax", "torch", "scikit-learn", "numpy"))
    print(f"{platform.machine()}, {len(cores)} cores, Python {platform.python_version()}; {packages}")
    for threads in [options.threads] if options.threads else sorted({1, len(cores)}):
        print(f"\n{threads} thread{'s' if threads > 1 else ''}; equal results are checked before each line is timed")
        print(f"{'network':<22}{'method':<14}{'an epoch':>13}{'a step':>13}{'GF/s':>8}{'sgemm':>9}{'ratio':>10}")
        os.environ.update({f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")})
        for line in lines:
            results += measure(line, threads, cores[:threads], options.epochs)
            for result in results[-len(METHODS) :]:
                report(result)
    record = {"packages": packages, "machine": platform.machine(), "results": results}
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench.json").write_text(json.dumps(record, indent=1))
    if not options.only and not options.quick:
        draw(results, ROOT / "docs" / "images" / "speed.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())

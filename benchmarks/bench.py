"""The project beside JAX (jit + scan), PyTorch and scikit-learn, on one core and on all of them.

    make bench                            every part, under 40 minutes; build/bench.json and docs/images/*.svg
    make bench BENCH="--part table --only 784-30-10 --threads 1 --quick"

table    an epoch of each of some networks, beside the peers and beside NumPy's sgemm
calls    single calls from Python, beside ONNX Runtime, and the import
predict  many rows through a small network, and their Jacobians
scaling  two trainings in two threads of Python
sweep    forty shapes: where the margin over the best peer is thin, or lost

In table and sweep every method takes the same mean-over-batch steps on the same data. (scikit-learn's output is the identity
where the loss is half the squared error; it is held against the project's network of that kind.) The first steps from equal
parameters must lead to equal parameters, or the method is not timed. Then the methods take turns, the others stopped; the
best epoch counts, compilation does not. Each runs in a process of its own, bound to the same cores before it imports.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import peers
import plots
from peers import METHODS, Task

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
PARTS = ("table", "calls", "predict", "scaling", "sweep")
PACKAGES = ("chainrule", "jax", "torch", "scikit-learn", "onnxruntime", "numpy")
TOLERANCE = {"sgd": 1e-3, "adam": 1e-2}  # of what an array moved; Adam divides small gradients by themselves
PATIENCE = 10.0  # seconds of turns that a method may take, once it has had two
THIN = 1.2  # a margin over the best peer that the next machine may lose
# What would keep sgemm and the peers from the kernels that they choose for this processor.
FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA",
          "ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES", "XLA_FLAGS")  # fmt: skip

TABLE = [
    Task((784, 30, 10), 10, 60_000),
    Task((784, 100, 10), 10, 60_000),
    Task((784, 300, 10), 32, 60_000),
    Task((784, 800, 10), 128, 59_904),
    Task((784, 1000, 500, 10), 128, 12_800, "relu", "softmax", "adam"),
    Task((784, 2500, 2000, 1500, 1000, 500, 10), 256, 10_240),
    Task((8, 50, 1), 32, 10_240),
    Task((784, 30, 10), 1, 10_000),
    Task((4, 32, 16, 4), 10_000, 10_000, "tanh", "identity", "adam", passes=20),
]


def sweep_task(sizes: str, batch: int, activation: str, output: str, solver: str) -> Task:
    """About 2e9 flops an epoch, in 20 to 4000 steps, X of 200 MB at the most."""
    widths = tuple(map(int, sizes.split("-")))
    step = Task(widths, batch, batch).flops
    steps = max(20, min(4000, int(2e9 / step), int(50e6 / widths[0] / batch)))
    return Task(widths, batch, steps * batch, activation, output, solver)


# One to five layers, widths from 1 to 2048, batches from 1 to 1024; the activation of a single layer is not used.
SWEEP = [
    sweep_task(*shape)
    for shape in [
        ("784-10", 100, "sigmoid", "softmax", "sgd"),
        ("13-1", 16, "sigmoid", "identity", "sgd"),
        ("2048-300", 64, "sigmoid", "softmax", "adam"),
        ("300-7", 1, "sigmoid", "sigmoid", "sgd"),
        ("1024-1024", 256, "sigmoid", "identity", "adam"),
        ("1-1-1", 1, "sigmoid", "sigmoid", "sgd"),
        ("2-16-1", 32, "tanh", "identity", "adam"),
        ("4-100-3", 8, "relu", "softmax", "adam"),
        ("784-30-10", 32, "sigmoid", "sigmoid", "sgd"),
        ("784-128-10", 64, "relu", "softmax", "adam"),
        ("784-513-10", 100, "sigmoid", "sigmoid", "sgd"),
        ("64-64-64", 1, "tanh", "identity", "sgd"),
        ("10-2048-1", 256, "relu", "identity", "adam"),
        ("2048-17-2048", 50, "sigmoid", "sigmoid", "sgd"),
        ("1500-700-20", 200, "tanh", "softmax", "sgd"),
        ("31-211-5", 1024, "silu", "identity", "adam"),
        ("100-1-100", 512, "sigmoid", "sigmoid", "sgd"),
        ("2048-1024-20", 128, "relu", "softmax", "adam"),
        ("40-80-1", 10, "silu", "identity", "sgd"),
        ("500-33-1", 3, "relu", "identity", "sgd"),
        ("8-32-32-1", 64, "tanh", "identity", "adam"),
        ("784-100-50-10", 32, "relu", "softmax", "adam"),
        ("784-800-400-10", 128, "sigmoid", "sigmoid", "sgd"),
        ("2-2-2-2", 4, "sigmoid", "sigmoid", "sgd"),
        ("21-1000-3-1", 500, "relu", "identity", "adam"),
        ("300-300-300-30", 20, "tanh", "softmax", "sgd"),
        ("6-50-50-3", 1024, "tanh", "identity", "adam"),
        ("1200-77-901-12", 7, "relu", "softmax", "sgd"),
        ("128-256-128-1", 1, "relu", "identity", "adam"),
        ("54-120-60-7", 200, "relu", "softmax", "adam"),
        ("3-20-20-20-1", 100, "tanh", "identity", "adam"),
        ("784-256-128-64-10", 100, "relu", "softmax", "adam"),
        ("16-64-64-64-4", 16, "relu", "identity", "sgd"),
        ("1000-400-150-400-1000", 64, "sigmoid", "sigmoid", "sgd"),
        ("90-45-23-11-6", 2, "tanh", "softmax", "sgd"),
        ("512-512-512-512-10", 256, "relu", "softmax", "adam"),
        ("5-8-8-8-8-1", 10, "tanh", "identity", "adam"),
        ("200-100-50-50-100-200", 40, "sigmoid", "identity", "sgd"),
        ("784-1000-500-250-100-10", 128, "relu", "softmax", "sgd"),
        ("32-128-256-128-64-3", 512, "relu", "softmax", "adam"),
    ]
]


# ---- workers -------------------------------------------------------------------------------------------------------------


class Worker:
    """A process that is bound to its cores before it imports anything, and runs only while it is asked."""

    def __init__(self, cores: list[int]) -> None:
        for name in FORCED:
            os.environ.pop(name, None)
        os.environ.update({f"{name}_NUM_THREADS": str(len(cores)) for name in ("OMP", "OPENBLAS", "MKL")})
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(cores, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, function, *arguments):
        os.kill(self.process.pid, signal.SIGCONT)
        self.pipe.send((function, arguments))
        done, answer = self.pipe.recv()
        os.kill(self.process.pid, signal.SIGSTOP)  # threads that spin would cost the next in turn
        if not done:
            raise RuntimeError(answer)
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()  # a stopped process hears nothing else
        self.process.join()


def work(cores: list[int], pipe) -> None:
    os.sched_setaffinity(0, cores)
    warnings.filterwarnings("ignore")
    while True:
        function, arguments = pipe.recv()
        try:
            pipe.send((True, function(*arguments)))
        except Exception:
            pipe.send((False, traceback.format_exc()))


class Workers(dict[str, Worker]):
    """A worker for each method, and one for sgemm."""

    def __init__(self, cores: list[int]) -> None:
        super().__init__({name: Worker(cores) for name in (*METHODS, "sgemm")})

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_) -> None:
        for worker in self.values():
            worker.__exit__()


# ---- table and sweep -----------------------------------------------------------------------------------------------------


def measure(task: Task, workers: Workers, threads: int, epochs: int, give_up: float) -> dict[str, object]:
    """All methods on one task, in turns; one that is more than `give_up` times slower than the best has two."""
    row: dict[str, object] = {"line": task.name, "threads": threads, "rows": task.rows, "steps": task.steps}
    methods = [method for method in METHODS if peers.can(method, task)]
    unequal = {}
    truth = workers["chainrule"].ask(peers.learn, "chainrule", task, threads)
    for method in methods[1:]:
        for output, forms in workers[method].ask(peers.learn, method, task, threads).items():
            for theirs in forms:
                apart = peers.differences(task, truth[output][0], theirs)
                worst = max(apart, key=lambda name: apart[name])
                if not apart[worst] < TOLERANCE[task.solver]:
                    unequal[method] = f"{worst} is apart by {apart[worst]:.1e} of what it moved"
    del truth
    methods = [method for method in methods if method not in unequal]
    for method in methods:
        workers[method].ask(peers.prepare, method, task, threads)
    best, spent, sgemm = dict.fromkeys(methods, float("inf")), dict.fromkeys(methods, 0.0), 0.0
    for turn in range(epochs):
        sgemm = max(sgemm, workers["sgemm"].ask(peers.sgemm))
        for method in methods:
            if turn >= 2 and (spent[method] > PATIENCE or best[method] > give_up * min(best.values())):
                continue
            begin = time.perf_counter()
            best[method] = min(best[method], workers[method].ask(peers.turn))
            spent[method] += time.perf_counter() - begin
    return row | {
        "seconds": best,
        "us_per_step": {m: s / task.steps * 1e6 for m, s in best.items()},
        "gflops": {m: task.flops / s / 1e9 for m, s in best.items()},
        "ratio": {m: s / best["chainrule"] for m, s in best.items() if m != "chainrule"},
        "sgemm": sgemm,
        "unequal": unequal,
    }


def print_trainings(rows: list[dict], width: int) -> None:
    """A line for each row; the peers' columns say how many times the project's time they take."""
    for row in rows:
        us, gflops = row["us_per_step"]["chainrule"], row["gflops"]["chainrule"]
        ratios = "".join(f"{row['ratio'][m]:>8.2f} x" if m in row["ratio"] else f"{'-':>10}" for m in list(METHODS)[1:])
        gain = f"{row['speed_up']:>8.2f} x" if "speed_up" in row else ""
        print(
            f"{row['line']:<{width}}{row['seconds']['chainrule'] * 1e3:>10.2f} ms{us:>10.2f} us{gflops:>8.1f}"
            f"{100 * gflops / row['sgemm']:>6.0f} %{ratios}{gain}",
            flush=True,
        )
        for method, what in row["unequal"].items():
            print(f"    {method} DISAGREES and was not timed: {what}", flush=True)


def trainings(tasks: list[Task], options: argparse.Namespace, give_up: float) -> list[dict]:
    """Measure and print all tasks, for one number of cores after the other."""
    rows: list[dict] = []
    width = max(len(task.name) for task in tasks) + 2
    for threads in options.counts:
        print(
            f"\n{cores_named(threads)}; equal results are checked before a line is timed; peers: times chainrule's time"
        )
        titles = "".join(
            f"{name:>{n}}" for name, n in zip(("an epoch", "a step", "GF/s", "sgemm"), (13, 13, 8, 8), strict=True)
        )
        print(f"{'':<{width}}{titles}{''.join(f'{m:>{10}}' for m in ('JAX', 'PyTorch', 'sklearn'))}  speed-up")
        with Workers(options.cores[:threads]) as workers:
            for task in tasks:
                row = measure(task, workers, threads, options.epochs, give_up)
                single = next((r for r in rows if (r["line"], r["threads"]) == (task.name, 1)), None)
                if single and threads > 1:
                    row["speed_up"] = single["seconds"]["chainrule"] / row["seconds"]["chainrule"]
                print_trainings([row], width)
                rows.append(row)
    return rows


def table(options: argparse.Namespace) -> list[dict]:
    return trainings(chosen(TABLE, options), options, give_up=float("inf"))


def sweep(options: argparse.Namespace) -> list[dict]:
    rows = trainings(chosen(SWEEP, options), options, give_up=5.0)
    print("\nTo the best peer, least first: below 1 is lost, below 1.2 is thin")
    ranked = sorted(
        ((min(r["ratio"].items(), key=lambda i: i[1]), r) for r in rows if r["ratio"]), key=lambda x: x[0][1]
    )
    for (peer, ratio), row in ranked:
        verdict = "LOST" if ratio < 1 else "thin" if ratio < THIN else ""
        print(f"{ratio:>8.2f} x  {peer:<14}{cores_named(row['threads']):<9}{row['line']:<52}{verdict}")
    lost, thin = (sum(ratio < limit for (_, ratio), _ in ranked) for limit in (1, THIN))
    print(f"{lost} lost and {thin - lost} thin of {len(ranked)}")
    return rows


def chosen(tasks: list[Task], options: argparse.Namespace) -> list[Task]:
    return [task.shortened(2_000) if options.quick else task for task in tasks if options.only in task.name]


def cores_named(n: int) -> str:
    return f"{n} core{'s' if n > 1 else ''}"


# ---- calls, predict, scaling: functions with an underscore run in a worker -----------------------------------------------


def _microseconds(call, seconds: float) -> float:
    """Of one call: the best of many rounds of some."""
    import timeit

    timer = timeit.Timer(call)
    number = max(1, timer.autorange()[0] // 50)
    end, least = time.perf_counter() + seconds, float("inf")
    while time.perf_counter() < end:
        least = min(least, timer.timeit(number) / number)
    return least * 1e6


CALLED = [(784, 30, 10), (8, 50, 1)]


def _call_chainrule(seconds: float):
    """Microseconds of calls, and the networks with an answer each, for ONNX Runtime to give too."""
    import numpy as np

    import chainrule

    rng = np.random.default_rng(0)
    net = chainrule.Network([24, 8, 2], activation="tanh", output="identity")
    X, L = rng.random((200, 24), dtype="f"), rng.random((200, 2), dtype="f")
    times = {"loss_and_gradient 24-8-2 tanh, 200 rows": _microseconds(lambda: net.loss_and_gradient(X, L), seconds)}
    networks = []
    for sizes in CALLED:
        net = chainrule.Network(sizes)
        X, L = rng.random((100, sizes[0]), dtype="f"), rng.random((100, sizes[-1]), dtype="f")
        model = chainrule.Regressor(sizes[1:-1], activation="sigmoid", solver="adam", max_iter=1).fit(
            X, L if sizes[-1] > 1 else L[:, 0]
        )
        row, name = X[:1].copy(), f"one row of {net.name}"
        times[f"Network.predict, {name}"] = _microseconds(lambda net=net, row=row: net.predict(row), seconds)
        times[f"Regressor.predict, {name}"] = _microseconds(lambda model=model, row=row: model.predict(row), seconds)
        networks.append((name, [(layer.weights, layer.bias) for layer in net.layers], row, net.predict(row)))
    return times, networks


def _call_onnx(networks, seconds: float) -> dict[str, float]:
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    times = {}
    for name, layers, row, answer in networks:
        nodes, constants, last = [], [], "X"
        for i, (W, b) in enumerate(layers):
            constants += [numpy_helper.from_array(np.array(a), f"{letter}{i}") for letter, a in (("W", W), ("b", b))]
            nodes.append(helper.make_node("Gemm", [last, f"W{i}", f"b{i}"], [f"q{i}"], transB=1))
            nodes.append(helper.make_node("Sigmoid", [f"q{i}"], [last := f"y{i}"]))
        ends = [
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, a.shape[1]])]
            for n, a in (("X", row), (last, answer))
        ]
        graph = helper.make_graph(nodes, "network", *ends, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(session.run(None, {"X": row})[0], answer, rtol=1e-5)
        times[f"ONNX Runtime, {name}"] = _microseconds(lambda s=session, row=row: s.run(None, {"X": row}), seconds)
    return times


def _import_seconds() -> float:
    """In a fresh process, without the interpreter's own start."""
    code = "import time; t = time.perf_counter(); import chainrule; print(time.perf_counter() - t)"
    return min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5))


def calls(options: argparse.Namespace) -> list[dict]:
    print("\nCalls from Python, 1 core")
    seconds = 0.1 if options.quick else 2.0
    with Worker(options.cores[:1]) as ours, Worker(options.cores[:1]) as theirs:
        times, networks = ours.ask(_call_chainrule, seconds)
        try:
            times |= theirs.ask(_call_onnx, networks, seconds)
        except RuntimeError as error:
            if "ModuleNotFoundError" not in str(error):
                raise
            print("    ONNX Runtime is left out: onnx or onnxruntime is not installed")
        start = ours.ask(_import_seconds)
    times = dict(sorted(times.items(), key=lambda item: item[0].rpartition(", ")[2]))
    rows: list[dict] = [{"line": line, "us": us} for line, us in (*times.items(), ("import chainrule", start * 1e6))]
    for row in rows:
        print(f"{row['line']:<52}" + (f"{row['us']:>10.2f} us" if row["us"] < 1e4 else f"{row['us'] / 1e6:>10.3f} s"))
    return rows


def _answer(what: str, dtype: str, rows: int, threads: int, repeats: int) -> float | None:
    """Microseconds a row, or None where the package has no such method."""
    import numpy as np

    import chainrule

    net = chainrule.Network([2, 32, 32, 7], activation="tanh", output="tanh", dtype=dtype)
    method = getattr(net, what, None)
    if method is None:
        return None
    X = np.random.default_rng(0).random((rows, 2)).astype(dtype)
    method(X[:1000], n_threads=threads)
    least = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        method(X, n_threads=threads)
        least = min(least, time.perf_counter() - begin)
    return least / rows * 1e6


def predict(options: argparse.Namespace) -> list[dict]:
    print("\n2-32-32-7 tanh: 1,000,000 rows answered, 100,000 Jacobians")
    few = 100 if options.quick else 1
    rows: list[dict] = []
    for threads in options.counts:
        for dtype in ("float32", "float64"):
            answered = None
            for what, n in (("predict", 1_000_000), ("jacobian", 100_000)):
                with Worker(options.cores[:threads]) as worker:
                    us = worker.ask(_answer, what, dtype, n // few, threads, 2 * options.epochs)
                if us is None:
                    print(f"    {what} is left out: this chainrule has none")
                    continue
                row = {"line": f"{what} {dtype}", "threads": threads, "us_per_row": us}
                single = next((r for r in rows if (r["line"], r["threads"]) == (row["line"], 1)), None)
                if single and threads > 1:
                    row["speed_up"] = single["us_per_row"] / us
                if what == "jacobian":
                    row["ratio_to_predict"] = us / answered
                answered = us
                rows.append(row)
                beside = (("ratio_to_predict", "predict"), ("speed_up", "faster than 1 core"))
                notes = [f"{row[key]:>8.2f} x {said}" for key, said in beside if key in row]
                print(f"{row['line']:<20}{cores_named(threads):<9}{us:>10.4f} us a row{''.join(notes)}", flush=True)
    return rows


def _train_two(rows: int, repeats: int) -> tuple[float, float]:
    """Seconds of two trainings one after the other, and of both at once, each on one thread."""
    from concurrent.futures import ThreadPoolExecutor

    import chainrule

    task = Task((784, 30, 10), 10, rows)
    X, L = peers.example(task)
    networks = [chainrule.Network(task.sizes, seed=s) for s in (0, 1)]

    def train(network):
        chainrule.train(network, X, L, batch_size=task.batch, learning_rate=task.rate, epochs=3, n_threads=1)

    apart = together = float("inf")
    with ThreadPoolExecutor(2) as pool:
        for turn in range(repeats + 1):
            seconds = []
            for run in (map, pool.map):
                begin = time.perf_counter()
                list(run(train, networks))
                seconds.append(time.perf_counter() - begin)
            if turn:  # the first warms up
                apart, together = min(apart, seconds[0]), min(together, seconds[1])
    return apart, together


def scaling(options: argparse.Namespace) -> list[dict]:
    print("\nTwo trainings of 784-30-10 batch 10, in two threads of Python on two cores")
    if len(options.cores) < 2 or max(options.counts) < 2:
        print("    left out: it takes two cores")
        return []
    with Worker(options.cores[:2]) as worker:
        apart, together = worker.ask(_train_two, 2_000 if options.quick else 60_000, options.epochs)
    print(f"one after the other {apart:.4f} s, at once {together:.4f} s: {apart / together:.2f} x (to reach: 1.9 x)")
    return [{"line": "two trainings", "one_after_the_other": apart, "at_once": together, "scaling": apart / together}]


# ---- the record ----------------------------------------------------------------------------------------------------------


def _instruction_set() -> str:
    import chainrule
    from chainrule import engines

    if chainrule.Network([1, 1]).engine != "native":
        return "none (the textbook engine)"
    return engines.load("native").instruction_set()


def processor() -> str:
    """The model's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def described(cores: list[int]) -> dict[str, object]:
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "missing"
    with Worker(cores[:1]) as worker:
        instructions = worker.ask(_instruction_set)
    return {
        "processor": processor(), "machine": platform.machine(), "cores": len(cores), "instruction_set": instructions,
        "python": platform.python_version(), "packages": packages,
    }  # fmt: skip


def draw(record: dict) -> None:
    """Draw what the record has."""
    for part, drawing, name in (("table", plots.speed, "speed.svg"), ("sweep", plots.sweep, "sweep.svg")):
        if record.get(part):
            drawing(record[part], IMAGES / name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--part", choices=PARTS, action="append", help="what to measure (default: all); may be repeated"
    )
    parser.add_argument("--threads", type=int, help="cores to use (default: one, then all)")
    parser.add_argument("--only", default="", help="lines of table and sweep whose name contains this")
    parser.add_argument("--quick", action="store_true", help="few rows, two turns")
    parser.add_argument("--epochs", type=int, default=5, help="turns of each method; the best counts")
    parser.add_argument("--draw", action="store_true", help="only draw the pictures, from build/bench.json")
    options = parser.parse_args()
    path = ROOT / "build" / "bench.json"
    if options.draw:
        draw(json.loads(path.read_text()))
        return 0
    options.cores = sorted(os.sched_getaffinity(0))
    options.counts = [options.threads] if options.threads else sorted({1, len(options.cores)})
    if not 1 <= max(options.counts) <= len(options.cores):
        parser.error(f"--threads must be from 1 to {len(options.cores)}; got {options.threads}")
    if options.epochs < 1:
        parser.error(f"--epochs must be at least 1; got {options.epochs}")
    if options.quick:
        options.epochs = 2
    parts = [part for part in PARTS if part in (options.part or PARTS)]
    if options.only:
        parts = [part for part in parts if part in ("table", "sweep")]
        parts = [part for part in parts if chosen({"table": TABLE, "sweep": SWEEP}[part], options)]
        if not parts:
            names = ", ".join(task.name for task in TABLE + SWEEP)
            parser.error(f"no line of these parts contains {options.only!r}; there are {names}")
    record = described(options.cores)
    # A selection does not replace the figures of whole runs; parts that were measured alone join those of an equal setup.
    selection = bool(options.quick or options.only or options.threads)
    if selection:
        path = path.with_name("bench-selection.json")
    elif path.exists():
        before = json.loads(path.read_text())
        if all(before.get(key) == value for key, value in record.items()):
            record = before
    print(
        f"{record['processor']}, {cores_named(len(options.cores))}, {record['instruction_set']}; Python {record['python']}, "
        + ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    )
    if os.getloadavg()[0] > 0.5:
        print(f"Load average {os.getloadavg()[0]:.1f}: what else runs spoils figures, most those of all cores")
    path.parent.mkdir(exist_ok=True)
    begin = time.monotonic()
    for part in parts:
        record[part] = {"table": table, "calls": calls, "predict": predict, "scaling": scaling, "sweep": sweep}[part](
            options
        )
        path.write_text(json.dumps(record, indent=1))
    print(f"\n{(time.monotonic() - begin) / 60:.1f} minutes; {path.relative_to(ROOT)}")
    if not selection:
        draw({part: record[part] for part in parts})
    return int(any(row["unequal"] for part in ("table", "sweep") if part in parts for row in record[part]))


if __name__ == "__main__":
    sys.exit(main())

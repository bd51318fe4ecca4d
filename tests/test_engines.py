"""The native engine: equal to the textbook's, and equal bits whatever the machine, the threads, the order of memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import chainrule
from chainrule import generator, reference
from chainrule.functions import ACTIVATIONS, LOSSES
from chainrule.optimizers import State
from conftest import NATIVE, SETS

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
NONE = np.zeros(0)


def problem(sizes, rows, dtype, loss="half_squared_error", seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, sizes[0])).astype(dtype)
    L = rng.random((rows, sizes[-1])).astype(dtype)
    return X, L / L.sum(axis=1, keepdims=True) if loss == "cross_entropy" else L


def pair(sizes, dtype, **settings):
    native, textbook = (
        chainrule.Network(sizes, seed=3, dtype=dtype, engine=e, **settings) for e in ("native", "reference")
    )
    native.parameters += np.random.default_rng(1).normal(0, 0.1, len(native.parameters)).astype(dtype)
    textbook.parameters = native.parameters
    return native, textbook


def assert_close(a, b, dtype):
    scale = max(float(np.abs(b).max()), 1e-3)
    np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


# ---- native against textbook -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("width", range(1, 68))
def test_ragged_sizes(width, dtype, native):
    """Every width 1..67 as inputs, hidden units, outputs and rows: tiles, half panels and tails of all lengths."""
    for sizes, rows in (
        ([width, 5, 3], 4),
        ([3, width, 2], 7),
        ([4, 6, width], 5),
        ([5, 3, 4], width),
        ([width, width, width], 2),
        ([2, width, width, 1], 1),
    ):
        fast, slow = pair(sizes, dtype, activation="tanh", output="sigmoid")
        X, L = problem(sizes, rows, dtype)
        assert_close(fast.predict(X), slow.predict(X), dtype)
        (e1, g1), (e2, g2) = fast.loss_and_gradient(X, L), slow.loss_and_gradient(X, L)
        assert e1 == pytest.approx(e2, rel=TOLERANCE[dtype])
        assert_close(g1, g2, dtype)
        for net in (fast, slow):
            chainrule.train(net, X, L, batch_size=max(1, rows // 2), epochs=2, learning_rate=0.3)
        assert_close(fast.parameters, slow.parameters, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_and_loss(activation, loss, dtype, native):
    for output in [LOSSES[loss].output] if LOSSES[loss].output else [activation, "softmax"]:
        sizes = [9, 17, 33, 11]
        fast, slow = pair(sizes, dtype, activation=activation, output=output)
        X, L = problem(sizes, 29, dtype, loss)
        assert_close(fast.predict(X), slow.predict(X), dtype)
        for settings in ({}, {"l2": 0.1, "sample_weight": np.arange(29)}):
            (e1, g1), (e2, g2) = (net.loss_and_gradient(X, L, loss=loss, **settings) for net in (fast, slow))
            assert e1 == pytest.approx(e2, rel=TOLERANCE[dtype])
            assert_close(g1, g2, dtype)


STEPS = {
    "descent": {"solver": "sgd", "learning_rate": 0.02},
    "momentum": {"solver": "sgd", "learning_rate": 0.002, "momentum": 0.9},
    "nesterov": {"solver": "sgd", "learning_rate": 0.002, "momentum": 0.9, "nesterov": True},
    "adam": {"solver": "adam", "learning_rate": 0.01},
    "full batch": {"solver": "gradient_descent", "learning_rate": 0.5},
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("l2", [0.0, 0.01])
@pytest.mark.parametrize("rule", STEPS)
@pytest.mark.parametrize("batch", [1, 7, 600])
def test_training(rule, l2, batch, dtype, native):
    """600 rows in one batch go through in chunks, with their gradients summed; smaller batches step tile by tile."""
    sizes, rows = [7, 19, 3], 600 if batch == 600 else 50
    fast, slow = pair(sizes, dtype, activation="tanh", output="identity")
    X, L = problem(sizes, rows, dtype)
    weight = np.random.default_rng(5).random(rows)
    histories = [
        chainrule.train(net, X, L, batch_size=batch, epochs=3, l2=l2, sample_weight=weight, **STEPS[rule])
        for net in (fast, slow)
    ]
    np.testing.assert_allclose(histories[0].loss, histories[1].loss, rtol=50 * TOLERANCE[dtype])
    scale = np.abs(slow.parameters).max()
    np.testing.assert_allclose(fast.parameters, slow.parameters, atol=100 * TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_accuracy_of_activations(name, dtype, native):
    """Within a few units in the last place of the values, from deep in the tails to tiny arguments."""
    x = np.concatenate([np.linspace(-30, 30, 20011), np.geomspace(1e-12, 1, 101), -np.geomspace(1e-12, 1, 101)]).astype(
        dtype
    )
    y, slope = NATIVE.evaluate(name, x)
    exact = x.astype(np.longdouble).astype(np.float64)
    eps = np.finfo(dtype).eps
    value, derivative = ACTIVATIONS[name].value(exact), ACTIVATIONS[name].derivative(exact)
    # The tail of gelu carries the rounding of x²/2 in its exponent.
    ulps = 4 + (exact**2 if name == "gelu" else 0)
    assert (np.abs(y - value) <= ulps * eps * np.abs(value) + np.finfo(dtype).tiny * 10).all()
    assert (np.abs(slope - derivative) <= 6 * eps * np.maximum(np.abs(derivative), 1) + eps).all()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_extreme_arguments(dtype, native):
    x = np.array([-1e30, -1000, 1000, 1e30, np.nan], dtype=dtype)
    for name in ACTIVATIONS:
        y, slope = NATIVE.evaluate(name, x)
        assert np.isnan(y[-1])
        assert np.isfinite(y[:4]).all()
        assert np.isfinite(slope[:4]).all()
    y, _ = NATIVE.evaluate("tanh", x)
    np.testing.assert_array_equal(y[:4], [-1, -1, 1, 1])


# ---- input -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_grey_levels_are_exact_quotients(dtype, native):
    """A uint8 image enters as g / 255, rounded like a division: bit for bit what the caller would have computed."""
    X = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 48)
    net = chainrule.Network([48, 4], output="identity", dtype=dtype)
    np.testing.assert_array_equal(net.predict(X), net.predict(X.astype(dtype) / np.asarray(255, dtype)))


def test_memory_order_does_not_matter(native, tmp_path):
    rng = np.random.default_rng(0)
    X, L = rng.random((40, 21)), rng.random((40, 3))
    np.save(tmp_path / "X.npy", X)
    views = {
        "C": X,
        "Fortran": np.asfortranarray(X),
        "every other": np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
        "reversed": X[::-1, ::-1].copy()[::-1, ::-1],
        "memory map": np.load(tmp_path / "X.npy", mmap_mode="r"),
        "big endian": X.astype(">f8"),
    }
    results = {}
    for name, view in views.items():
        net = chainrule.Network([21, 8, 3], seed=1, dtype="float64")
        chainrule.train(net, view, L, epochs=2, batch_size=8)
        results[name] = net.parameters
    for name, parameters in results.items():
        np.testing.assert_array_equal(parameters, results["C"], err_msg=name)


def test_prediction_does_not_depend_on_the_other_rows(engine):
    net = chainrule.Network([6, 31, 5], activation="gelu", output="softmax", engine=engine.name)
    X = np.random.default_rng(0).normal(size=(300, 6)).astype("f")
    Z = net.predict(X)
    if engine.name == "native":
        for i in (0, 1, 150, 299):
            np.testing.assert_array_equal(net.predict(X[i]), Z[i : i + 1])
            np.testing.assert_array_equal(net.predict(X[i : i + 3]), Z[i : i + 3])
    np.testing.assert_allclose(Z.sum(axis=1), 1, rtol=1e-5)
    assert net.predict(X[:0]).shape == (0, 5)


# ---- equal bits --------------------------------------------------------------------------------------------------------

RECIPES = {
    "textbook": ([20, 30, 10], {"batch_size": 10, "learning_rate": 3.0}, "sigmoid", "sigmoid", "half_squared_error"),
    "narrow": ([8, 50, 1], {"batch_size": 32}, "tanh", "identity", "half_squared_error"),
    "deep": ([13, 40, 33, 17, 5], {"solver": "adam"}, "gelu", "softmax", "cross_entropy"),
    "one by one": (
        [20, 18, 3],
        {"batch_size": 1, "momentum": 0.9, "learning_rate": 0.01},
        "silu",
        "sigmoid",
        "binary_cross_entropy",
    ),
    "full batch": ([5, 9, 2], {"solver": "gradient_descent", "l2": 0.01}, "softplus", "identity", "half_squared_error"),
}


def trained(recipe, dtype, threads=1):
    """The hash of all that a recipe computes. Its data are the package's own random bits: NumPy's differ between machines."""
    sizes, settings, activation, output, loss = RECIPES[recipe]
    X = (4 * generator.uniform(0, 0, 300 * sizes[0]) - 2).reshape(300, -1).astype(dtype)
    L = generator.uniform(0, 1, 300 * sizes[-1]).reshape(300, -1).astype(dtype)
    if loss == "cross_entropy":
        L = L.argmax(axis=1)
    net = chainrule.Network(sizes, activation=activation, output=output, seed=4, dtype=dtype, engine="native")
    history = chainrule.train(net, X, L, loss=loss, epochs=3, seed=9, n_threads=threads, **settings)
    Z = net.predict(X, n_threads=threads)
    e, g = net.loss_and_gradient(X, L, loss=loss, n_threads=threads)
    record = [
        net.parameters.tobytes(),
        np.array(history.loss).tobytes(),
        Z.tobytes(),
        g.tobytes(),
        np.float64(e).tobytes(),
    ]
    return hashlib.sha256(b"".join(record)).hexdigest()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("recipe", RECIPES)
def test_equal_bits_on_any_number_of_threads(recipe, dtype, native):
    first = trained(recipe, dtype)
    assert trained(recipe, dtype) == first, "run after run"
    for threads in (2, 3, 7):
        assert trained(recipe, dtype, threads) == first, threads


@pytest.mark.skipif(len(SETS) < 2, reason=f"this processor runs one instruction set only: {', '.join(SETS)}")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("recipe", RECIPES)
def test_equal_bits_on_every_instruction_set(recipe, dtype):
    hashes = set()
    for isa in SETS:
        NATIVE.select(isa)
        hashes.add(trained(recipe, dtype))
    NATIVE.select(SETS[0])
    assert len(hashes) == 1


# Parameters, losses, outputs and gradients of the recipes in float32: the same on every processor and compiler. Where a
# change of the arithmetic is meant, the new hashes are printed by the failing test.
GOLDEN = {
    "textbook": "b1d894ffb685c3b7",
    "narrow": "4cd5a64a57b963f9",
    "deep": "cac031e4fa03e21c",
    "one by one": "9e1602d212460411",
    "full batch": "f21efb7f4eb6ca1a",
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_golden_bits(recipe, native):
    assert trained(recipe, "float32")[:16] == GOLDEN[recipe]


def test_generator_is_the_same_in_both_languages():
    for seed in (0, 1, 2**64 - 1, 123456789):
        for stream in (0, 5, 2**32 + 7):
            np.testing.assert_array_equal(
                NATIVE.random_bits(seed, stream, 3, 1000), generator.random_bits(seed, stream, 3, 1000)
            )
        for n in (1, 2, 3, 1000):
            np.testing.assert_array_equal(NATIVE.permutation(seed, 11, n), generator.permutation(seed, 11, n))


def test_generator_is_uniform():
    u = generator.uniform(7, 0, 100_000)
    assert u.min() >= 0
    assert u.max() < 1
    counts = np.histogram(u, bins=100, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 160  # χ² of 99 degrees of freedom: beyond 160 once in 10,000
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(u, generator.uniform(8, 0, 100_000))[0, 1]) < 0.02
    orders = np.array([generator.permutation(0, e, 5) for e in range(2000)])
    places = np.array([np.bincount(column, minlength=5) for column in orders.T])
    assert (abs(places - 400) < 100).all()


# ---- manners -----------------------------------------------------------------------------------------------------------


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, check=False, env={**os.environ, **environment}, timeout=120,
    )  # fmt: skip


def test_the_gil_is_released(native):
    net = chainrule.Network([200, 200, 10], dtype="float64")
    X, L = problem([200, 10], 4000, "float64")
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    chainrule.train(net, X, L, epochs=5)
    end = time.perf_counter()
    done.set()
    thread.join()
    during = sum(start < t < end for t in ticks)
    assert during > 5


@pytest.mark.parametrize(
    ("sizes", "work"),
    [
        ([300, 400, 10], "train(net, X, L, batch_size=10, epochs=10**6, learning_rate=0.01)"),
        ([300, 400, 10], "train(net, X, L, batch_size=100_000, epochs=10**6, learning_rate=0.01)"),
        ([1, 2500, 2500, 1], "train(net, X, L, batch_size=64, epochs=10**6, learning_rate=1e-6)"),
        ([300, 400, 10], "train(net, X, L, solver='lbfgs', epochs=10**6, tol=0)"),
    ],
    ids=["small steps", "one step over all rows", "narrow, wide, narrow", "lbfgs"],
)
def test_ctrl_c_stops_at_once_and_keeps_what_was_learned(sizes, work, native):
    code = f"""
        import os, signal, threading, time, warnings
        import numpy as np, chainrule
        warnings.simplefilter("ignore")
        rng = np.random.default_rng(0)
        X, L = rng.random((20000, {sizes[0]}), dtype="f"), rng.random((20000, {sizes[-1]}), dtype="f")
        net = chainrule.Network({sizes})
        before = net.parameters.copy()
        pressed = []
        def press():
            time.sleep(2.0)
            pressed.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=press).start()
        history = chainrule.{work}
        print(time.perf_counter() - pressed[0], history.ending, bool((net.parameters != before).any()),
              bool(np.isfinite(net.parameters).all()))
    """
    waits = []
    for _ in range(3):  # the machine may be busy: the quickest of three counts
        done = run(code)
        wait, *rest = done.stdout.split()
        assert rest == ["interrupted", "True", "True"], done.stderr
        waits.append(float(wait))
        if waits[-1] < 0.2:
            return
    raise AssertionError(f"stopped after {waits} s")


def test_ctrl_c_stops_a_long_prediction(native):
    code = """
        import os, signal, threading, time
        import numpy as np, chainrule
        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        net = chainrule.Network([100, 2000, 2000, 10])
        try:
            net.predict(np.ones((10**6, 100), "f"))
        except KeyboardInterrupt:
            print("interrupted")
    """
    assert run(code).stdout == "interrupted\n"


def test_daemon_thread_at_exit(native):
    """The interpreter ends in the middle of a training that nobody waits for: in order, not by a crash."""
    code = """
        import threading, time
        import numpy as np, chainrule
        X = np.ones((2000, 100), "f")
        net = chainrule.Network([100, 100, 10])
        work = lambda: chainrule.train(net, X, X[:, :10], epochs=10**7)
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
    """
    done = run(code)
    assert done.returncode == 0
    assert "terminate" not in done.stderr
    assert "Traceback" not in done.stderr


def test_threads_that_the_system_does_not_give(native):
    code = """
        import resource
        import numpy as np, chainrule
        net, X = chainrule.Network([3, 3, 3]), np.ones((4, 3), "f")
        chainrule.engines.load("native").use_every_thread(True)
        held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + 200_000_000,) * 2)
        for work in (lambda: net.predict(X, n_threads=1000), lambda: chainrule.train(net, X, X, n_threads=1000)):
            try:
                work()
            except RuntimeError as error:
                print(str(error)[:56])
        print(chainrule.train(net, X, X, n_threads=2, epochs=3).epochs)
    """
    done = run(code)
    assert done.stdout.splitlines() == ["n_threads: the system does not give 1000 threads (Resour"] * 2 + ["3"], (
        done.stderr
    )


def test_arguments_of_the_core_are_checked(native):
    """By direct callers of _native, too: nothing may read or write where it should not."""
    theta, X, L, none = np.zeros(8, "f"), np.ones((4, 3), "f"), np.ones((4, 2), "f"), np.zeros(0, "f")
    net = [3, 2], ["sigmoid"]
    with pytest.raises(ValueError, match="n_threads must be 1 or more"):
        NATIVE.predict(theta, *net, X, 0)
    with pytest.raises(ValueError, match="n_threads must be 1 or more"):
        NATIVE.loss_and_gradient(theta, *net, X, L, "half_squared_error", 0.0, None, 0)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        NATIVE.loss_and_gradient(theta, *net, X, L, "half_squared_error", 0.0, np.ones(4), 1)
    with pytest.raises(ValueError, match="sizes must be 1 or more each"):
        NATIVE.predict(theta, [3, -1, 2], ["sigmoid", "sigmoid"], X, 1)
    with pytest.raises(ValueError, match="step 'gradient' is not known"):
        NATIVE.run_epochs(theta, *net, X, L, "half_squared_error", "gradient", none, none, np.ones(2), 2, 1, 0, 0.1, 0.0,
                          0.9, 0.999, 1e-8, 0.0, None, True, 0, 1)  # fmt: skip


@pytest.mark.parametrize("output", ["sigmoid", "tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_saturated_output_still_learns(output, dtype, native):
    """σ′ at an output that is sure and wrong: from e^−q, where y (1 − y) would be 0."""
    net, truth = (chainrule.Network([1, 1], output=output, dtype=dtype, engine=e) for e in ("native", "reference"))
    for q in (-30.0, -17.0, 9.0, 16.0, 30.0):
        for network in (net, truth):
            network.parameters = [q, 0.0]
        got, wanted = (network.loss_and_gradient([[1.0]], [[0.5]])[1] for network in (net, truth))
        np.testing.assert_allclose(got, wanted, rtol=2e-5 if dtype == "float32" else 1e-13)


def test_losses_without_gradient(engine):
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(700, 5)), rng.random(700)
    for loss, output in (
        ("half_squared_error", "tanh"),
        ("binary_cross_entropy", "sigmoid"),
        ("cross_entropy", "softmax"),
    ):
        net = chainrule.Network([5, 20, 3], output=output, seed=1, dtype="float64", engine=engine.name)
        rows, labels, w = net.examples(X, rng.random((700, 3)), weight)
        arguments = net.parameters, net.sizes, net.activations, rows, labels, loss
        module = chainrule.engines.load(net.engine)
        truth, _ = net.loss_and_gradient(rows, labels, loss=loss, sample_weight=weight)
        values = {module.mean_loss(*arguments, w, threads) for threads in (1, 2, 3)}
        assert len(values) == 1
        assert values.pop() == pytest.approx(truth, rel=1e-13)


def test_second_moment_of_adam_in_float32(native):
    state = chainrule.train(
        chainrule.Network([1, 1], output="identity"), [[1.0]], [[-1.0]], solver="adam", epochs=1, batch_size=1
    ).state
    net = chainrule.Network([1, 1], output="identity")
    gradient = float(net.parameters[0]) + 1.0
    assert float(state.square[0]) == pytest.approx(0.001 * gradient**2, rel=3e-7)


def test_loss_beyond_the_range_of_numbers(native):
    net = chainrule.Network([1, 1], output="identity")
    value, gradient = net.loss_and_gradient([[1.0]], [[3e30]])
    assert value == np.inf
    assert gradient == pytest.approx([-3e30, -3e30])


def test_overflow_in_the_last_step(engine):
    net = chainrule.Network([1, 1], output="identity", engine=engine.name)
    before = net.parameters.copy()
    with pytest.raises(FloatingPointError, match="training diverged"):
        chainrule.train(net, [[1e15]], [[1.0]], learning_rate=1e30, epochs=1)
    np.testing.assert_array_equal(net.parameters, before)


def test_network_from_a_machine_with_the_native_engine(monkeypatch):
    import pickle

    held = pickle.dumps(chainrule.Network([1, 1]))
    monkeypatch.setattr(chainrule.engines, "_native", None)
    monkeypatch.setattr(chainrule.engines, "_fall_back", lambda: None)
    assert pickle.loads(held).engine == "reference"


def test_another_signal_handler_is_heard(native):
    code = """
        import os, signal, threading, time
        import numpy as np, chainrule
        signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(SystemExit(7)))
        threading.Timer(0.7, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        X = np.ones((2000, 100), "f")
        chainrule.train(chainrule.Network([100, 100, 10]), X, X[:, :10], epochs=10**7)
    """
    assert run(code).returncode == 7


def test_a_step_allocates_nothing(native, tmp_path):
    """malloc is counted over 1 and over 40 epochs of many steps: the difference is a few a call, none a step."""
    (tmp_path / "count.c").write_text(
        textwrap.dedent("""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <stddef.h>
        static volatile long calls;
        static void* (*next)(size_t);
        static void* (*aligned)(size_t, size_t);
        void* malloc(size_t n) {
          if (!next) next = dlsym(RTLD_NEXT, "malloc");
          __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
          return next(n);
        }
        void* aligned_alloc(size_t a, size_t n) {
          if (!aligned) aligned = dlsym(RTLD_NEXT, "aligned_alloc");
          __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
          return aligned(a, n);
        }
        long malloc_calls(void) { return calls; }
        """)
    )
    library = tmp_path / "count.so"
    built = subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", str(tmp_path / "count.c"), "-o", str(library), "-ldl"], check=False
    )
    if built.returncode:
        pytest.skip("no C compiler here, or no LD_PRELOAD")
    done = run(
        """
        import ctypes, os
        import numpy as np
        from chainrule import _native
        count = ctypes.CDLL(os.environ["LD_PRELOAD"]).malloc_calls
        count.restype = ctypes.c_long
        rng = np.random.default_rng(0)
        X, L = rng.random((1000, 20), dtype="f"), rng.random((1000, 3), dtype="f")
        theta, none, powers = np.zeros(20 * 30 + 30 + 30 * 3 + 3, "f"), np.zeros(0, "f"), np.ones(2)
        def calls(epochs, threads, batch):
            before = count()
            _native.run_epochs(theta, [20, 30, 3], ["silu", "sigmoid"], X, L, "half_squared_error", "descent", none, none,
                               powers, batch, epochs, 0, 0.1, 0.0, 0.9, 0.999, 1e-8, 0.01, None, True, 0, threads)
            return count() - before
        for threads in (1, 2):
            for batch in (10, 300):
                calls(1, threads, batch)
                print(calls(1, threads, batch), calls(40, threads, batch))
        """,
        LD_PRELOAD=str(library),
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        one, many = map(int, line.split())
        assert many <= one + 45, line  # the list of losses that is handed back: one number an epoch


def test_engine_is_chosen_by_name_and_by_environment():
    assert chainrule.Network([1, 1], engine="reference").engine == "reference"
    code = "import chainrule; print(chainrule.Network([1, 1]).engine)"
    assert run(code, CHAINRULE_ENGINE="reference").stdout.split() == ["reference"]
    assert run(code, CHAINRULE_ENGINE="").stdout.split() == ["native"]
    assert "Did you mean 'reference'?" in run(code, CHAINRULE_ENGINE="referense").stderr
    assert "CHAINRULE_ISA must be one of" in run(code, CHAINRULE_ISA="x86-64-v9").stderr
    with pytest.raises(ValueError, match="engine must be one of native, reference"):
        chainrule.Network([1, 1], engine="fast")


@pytest.mark.parametrize("isa", SETS)
def test_instruction_set_is_chosen_by_environment(isa):
    code = "import chainrule; chainrule.Network([1, 1]); print(chainrule.engines._native.instruction_set())"
    assert run(code, CHAINRULE_ISA=isa).stdout.split() == [isa]


def test_training_does_not_change_the_processor_mode(native):
    """Subnormal numbers of the whole process survive loading and running the library."""
    net = chainrule.Network([3, 3, 3])
    chainrule.train(net, np.ones((4, 3)), np.ones((4, 3)), epochs=1)
    assert np.float32(1e-40) * np.float32(1) != 0
    assert np.float64(1e-310) * 1 != 0


def test_both_engines_take_the_same_arguments():
    stub = (Path(chainrule.__file__).parent / "_native.pyi").read_text(encoding="utf-8")
    import ast
    import inspect

    functions = {f.name: [a.arg for a in f.args.args] for f in ast.parse(stub).body if isinstance(f, ast.FunctionDef)}
    for name in ("predict", "loss_and_gradient", "run_epochs"):
        assert list(inspect.signature(getattr(reference, name)).parameters) == functions[name]
    state = State.start("adam", np.zeros(2))
    with pytest.raises(TypeError):
        NATIVE.run_epochs(np.zeros(2), [1, 1], ["tanh"], state)

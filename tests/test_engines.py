"""The native engine: equal to the textbook's, and equal bits whatever the machine, the threads, the order of memory."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import chainrule
from chainrule import generator, reference
from chainrule.evidence import group_parameters
from chainrule.functions import ACTIVATIONS, LOSSES, SMOOTHED, Objective, activate
from chainrule.optimizers import Settings, State
from conftest import NATIVE, SETS

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def problem(sizes, rows, dtype, loss="half_squared_error", seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, sizes[0])).astype(dtype)
    L = rng.random((rows, sizes[-1] // LOSSES[loss].per_label)).astype(dtype)
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
        sizes = [9, 17, 33, 12]
        fast, slow = pair(sizes, dtype, activation=activation, output=output)
        if activation == "exp":
            fast.parameters *= 0.1  # e^(e^(e^x)) multiplies every rounding
            slow.parameters = fast.parameters
        X, L = problem(sizes, 29, dtype, loss)
        assert_close(fast.predict(X), slow.predict(X), dtype)
        assert_close(fast.jacobian(X), slow.jacobian(X), dtype)
        assert_close(fast.parameter_jacobian(X), slow.parameter_jacobian(X), dtype)
        varied = {"l2": 0.1, "sample_weight": np.arange(29), "delta": 0.1, "quantile": 0.2}
        varied |= {"label_smoothing": 0.1} if loss in SMOOTHED else {}
        for settings in ({}, varied):
            (e1, g1), (e2, g2) = (net.loss_and_gradient(X, L, loss=loss, **settings) for net in (fast, slow))
            assert e1 == pytest.approx(e2, rel=TOLERANCE[dtype])
            assert_close(g1, g2, dtype)


STEPS = {
    "descent": {"solver": "sgd", "learning_rate": 0.02},
    "momentum": {"solver": "sgd", "learning_rate": 0.002, "momentum": 0.9},
    "nesterov": {"solver": "sgd", "learning_rate": 0.002, "momentum": 0.9, "nesterov": True},
    "adam": {"solver": "adam", "learning_rate": 0.01},
    "full batch": {"solver": "gradient_descent", "learning_rate": 0.5},
    "rmsprop": {"solver": "rmsprop", "learning_rate": 0.001, "epsilon": 1e-3},
    "rprop": {"solver": "rprop", "learning_rate": 0.01},
    "adamw": {"solver": "adamw", "learning_rate": 0.01, "weight_decay": 0.5},
    "decay": {"solver": "nesterov", "learning_rate": 0.002, "weight_decay": 0.5},
    "clip": {"solver": "sgd", "learning_rate": 0.02, "clip": 0.3},
    "max-norm": {"solver": "sgd", "learning_rate": 0.02, "max_norm": 0.8},
    "dropout": {"solver": "sgd", "learning_rate": 0.02, "dropout": [0.2, 0.5]},
    "adversarial": {"solver": "sgd", "learning_rate": 0.02, "adversarial": 0.1},
    "cosine": {"solver": "momentum", "learning_rate": 0.002, "schedule": "cosine"},
    "one cycle": {"solver": "adam", "learning_rate": 0.01, "schedule": "onecycle"},
    "all at once": {
        "solver": "adamw", "learning_rate": 0.01, "schedule": "step", "drop_period": 1, "clip": 0.3, "max_norm": 0.8,
        "dropout": 0.3, "adversarial": 0.1,
    },
}  # fmt: skip


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
@pytest.mark.parametrize("loss", LOSSES)
def test_training_with_every_loss(loss, dtype, native):
    sizes, rows = [7, 19, 4], 50
    fast, slow = pair(sizes, dtype, activation="tanh", output=LOSSES[loss].output or "identity")
    X, L = problem(sizes, rows, dtype, loss)
    settings = {"delta": 0.3, "quantile": [0.1, 0.4, 0.6, 0.9], "dropout": 0.2, "l2": 0.01, "clip": 1.0}
    settings |= {"label_smoothing": 0.1} if loss in SMOOTHED else {}
    histories = [
        chainrule.train(net, X, L, loss=loss, solver="adam", learning_rate=0.01, batch_size=8, epochs=3, **settings)
        for net in (fast, slow)
    ]
    np.testing.assert_allclose(histories[0].loss, histories[1].loss, rtol=50 * TOLERANCE[dtype])
    np.testing.assert_allclose(
        fast.parameters, slow.parameters, atol=100 * TOLERANCE[dtype] * np.abs(slow.parameters).max()
    )


@pytest.mark.parametrize("width", [1, 2, 3, 15, 16, 17, 33, 67])
def test_dropout_and_norms_of_ragged_sizes(width, native):
    """Places in a row, in a panel and in memory are not the same: what is dropped must not depend on the layout."""
    for sizes in ([width, 5, 3], [3, width, 2], [4, 6, width], [5, width, width, 1]):
        fast, slow = pair(sizes, "float64", activation="tanh", output="identity")
        X, L = problem(sizes, 23, "float64")
        for net in (fast, slow):
            chainrule.train(net, X, L, batch_size=9, epochs=2, learning_rate=0.1, clip=0.2, max_norm=0.5,
                            dropout=[0.3] + [0.5] * (len(sizes) - 2))  # fmt: skip
        assert_close(fast.parameters, slow.parameters, "float64")


@pytest.mark.parametrize("width", [1, 2, 15, 17, 40, 300])
def test_adversarial_training_of_ragged_sizes(width, native):
    """(100) On threads; of networks that have the rows of a batch in panels, columns, halves and chunks without it."""
    for sizes in ([width, 3], [width, 1], [width, 5, 3], [3, width, 2], [5, width, 30, 4]):
        for threads, how in ((1, {"dropout": [0.2] + [0.3] * (len(sizes) - 2)}), (2, {"solver": "adam"}),
                             (2, {"clip": 0.2, "max_norm": 0.5})):  # fmt: skip
            fast, slow = pair(sizes, "float64", activation="tanh", output="identity")
            X, L = problem(sizes, 310, "float64")
            for net in (fast, slow):
                chainrule.train(net, X, L, batch_size=300, epochs=2, learning_rate=0.01, n_threads=threads,
                                adversarial=0.05, **how)  # fmt: skip
            assert_close(fast.parameters, slow.parameters, "float64")


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("columns", [[5], [1, 1, 1], [3, 17, 1, 40], [1, 33, 33, 2, 33, 300, 1, 70]], ids=str)
def test_embedding_of_ragged_columns(columns, dtype, native):
    """(99) Of one unit a column, and more; on threads; in sums of halves, that some columns have no input in; in chunks."""
    of = np.repeat(np.arange(len(columns)), columns).tolist()
    for each, batch, threads, how in (
        (1, 7, 1, {}),
        (3, 40, 2, {"solver": "adamw", "dropout": [0.2, 0.0, 0.3], "l2": 0.01}),
        (9, 300, 2, {"solver": "momentum"}),
        (5, 30, 2, {"solver": "rmsprop", "clip": 0.1, "max_norm": 0.8}),
        (5, 30, 2, {"solver": "adam", "adversarial": 0.1}),
        (4, 40, 1, {"solver": "rprop", "learning_rate": 0.001}),
    ):
        sizes = [len(of), each * len(columns), 11, 2]
        fast, slow = pair(sizes, dtype, activation=["identity", "silu"], output="identity")
        X, L = problem(sizes, 320, dtype)
        for net in (fast, slow):
            settings = {"learning_rate": 0.001, "batch_size": batch, **how}
            chainrule.train(net, X, L, epochs=2, n_threads=threads, embedding=of, **settings)
        scale = np.abs(slow.parameters).max()
        np.testing.assert_allclose(fast.parameters, slow.parameters, atol=100 * TOLERANCE[dtype] * scale)
        within = np.repeat(np.arange(len(columns)), each)[:, None] == np.array(of)
        for net in (fast, slow):
            assert (net.layers[0].weights[~within] == 0).all()
            assert (net.layers[0].weights[within] != 0).mean() > 0.9


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_accuracy_of_activations(name, dtype, native):
    """Within a few units in the last place of the values, from deep in the tails to tiny arguments.

    Where a silu or gelu is fainter than 2⁻⁴², in float64 2⁻³⁴⁰, it is 0: products of three such numbers would be denormal.
    """
    x = np.concatenate([np.linspace(-36, 36, 20011), np.geomspace(1e-12, 1, 101), -np.geomspace(1e-12, 1, 101)]).astype(
        dtype
    )
    y, slope = NATIVE.evaluate(name, x)
    exact = x.astype(np.longdouble).astype(np.float64)
    eps = np.finfo(dtype).eps
    value, derivative = ACTIVATIONS[name].value(exact), ACTIVATIONS[name].derivative(exact)
    # The tail of gelu carries the rounding of x²/2 in its exponent.
    ulps = 4 + (exact**2 if name == "gelu" else 0)
    faint = {"float32": 2.0**-42, "float64": 2.0**-340}[dtype] if name in ("silu", "gelu") else 0
    seen = np.abs(value) > 1.001 * faint
    assert (np.abs(y - value) <= ulps * eps * np.abs(value) + np.finfo(dtype).tiny * 10)[seen].all()
    assert (y == 0)[np.abs(value) < 0.999 * faint].all()
    assert (np.abs(slope) >= 0.999 * faint)[slope != 0].all()
    assert (np.abs(slope - derivative) <= 6 * eps * np.maximum(np.abs(derivative), 1) + eps).all()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("step", ["momentum", "nesterov", "adam", "rmsprop"])
def test_what_remembers_no_gradient_any_more_is_0(step, dtype, native):
    """Denormal it would stay for ever, and slow each step down: of an input that is 0 from now on."""
    tiny = np.finfo(dtype).tiny
    sizes, activations = [3, 40, 2], ["tanh", "identity"]
    theta, (X, L) = np.full(3 * 40 + 40 + 41 * 2, 0.1, dtype), problem([3, 40, 2], 8, dtype)
    X[:, 1] = 0
    velocity, square = np.full(theta.shape, 2 * tiny), np.full(theta.shape, tiny if step == "rmsprop" else 2 * tiny)
    state = State(velocity.astype(dtype), square.astype(dtype))
    how = Settings(Objective(), step=step, batch_size=4)
    NATIVE.run_epochs(theta, sizes, activations, X, L, None, how, np.full(1, 0.1), state, 600, 1)
    of_silent = np.arange(120).reshape(40, 3)[:, 1]
    for memory in (state.velocity, state.square):
        assert (np.abs(memory[memory != 0]) >= tiny).all()
    assert (state.velocity[of_silent] == 0).all() or step == "rmsprop"
    assert (state.velocity[np.setdiff1d(np.arange(120), of_silent)] != 0).all() or step == "rmsprop"


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("step", ["adam", "rmsprop"])
def test_a_derivative_of_which_the_square_would_be_denormal_is_0(step, dtype, native):
    """It would slow each step down: of units that are all but dead."""
    sizes, activations = [3, 40, 2], ["tanh", "identity"]
    theta, (X, L) = np.full(3 * 40 + 40 + 41 * 2, 0.1, dtype), problem([3, 40, 2], 8, dtype)
    flat = {"float32": 2.0**-58, "float64": 2.0**-506}[dtype]
    X[:, 1] = 1e-3 * flat
    X[:, 2] = 1e6 * flat
    state = State(np.zeros_like(theta), np.zeros_like(theta))
    how = Settings(Objective(), step=step, batch_size=4)
    NATIVE.run_epochs(theta, sizes, activations, X, L, None, how, np.full(1, 0.01), state, 1, 1)
    square = state.square[:120].reshape(40, 3)
    assert (square[:, 1] == 0).all()
    assert (square[:, [0, 2]] > 0).all()


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


def test_numbers_too_large_are_seen_not_warned_of(engine):
    """Warnings are errors here: what overflows shows in the answers of either engine, and nowhere else."""
    net = chainrule.Network([2, 5, 5, 5, 2], activation="exp", output="exp", engine=engine.name, seed=0)
    net.parameters *= 3
    X = np.full((2, 2), 3.0)
    net.predict(X), net.jacobian(X), net.parameter_jacobian(X)
    assert net.loss_and_gradient(X, X)[0] == np.inf


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
    for inputs in (6, 300):
        net = chainrule.Network([inputs, 31, 5], activation="gelu", output="softmax", engine=engine.name)
        X = np.random.default_rng(0).normal(size=(300, inputs)).astype("f")
        Z = net.predict(X)
        if engine.name == "native":
            for i in (0, 1, 150, 299):
                np.testing.assert_array_equal(net.predict(X[i]), Z[i : i + 1])
                np.testing.assert_array_equal(net.predict(X[i : i + 3]), Z[i : i + 3])
        np.testing.assert_allclose(Z.sum(axis=1), 1, rtol=1e-5)
        assert net.predict(X[:0]).shape == (0, 5)


@pytest.mark.parametrize("output", ["softmax", "sigmoid", "exp", "identity"])
def test_logits_are_what_the_output_is_given(output, engine, rng):
    net = chainrule.Network([6, 31, 5], activation="gelu", output=output, engine=engine.name, seed=1)
    X = rng.normal(size=(300, 6)).astype("f")
    Q, Z = net.logits(X, n_threads=2), net.predict(X)
    assert Q.dtype == np.float32
    np.testing.assert_allclose(activate(output, Q.astype(float)), Z, rtol=2e-6)
    np.testing.assert_allclose(net.logits(X[7]), Q[7:8], rtol=1e-5)
    assert net.activations[-1] == output


def test_hidden_values_are_those_of_the_layers(engine, rng):
    X = rng.normal(size=(40, 3))
    net = chainrule.Network([3, 5, 4, 2], ["silu", "tanh"], seed=2, dtype="float64", engine=engine.name)
    _, values = reference.forward(net.parameters, net.sizes, net.activations, X)
    for layer in (1, 2):
        np.testing.assert_allclose(net.hidden(X, layer, n_threads=2), values[layer], rtol=1e-9)
    with pytest.raises(ValueError, match="layer must be a whole number of 1 to 2; got 3"):
        net.hidden(X, 3)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_plain_calls_are_the_others(dtype, native):
    """What the core checks and computes by itself for a few plain rows is what the long way would have answered."""
    theta, sizes, activations = np.linspace(-1, 1, 82, dtype=dtype), (5, 7, 5), ("tanh", "softmax")
    rng = np.random.default_rng(0)
    X, L = rng.random((9, 5)).astype(dtype), rng.random((9, 5)).astype(dtype)
    net = theta, sizes, activations
    for rows in (X[0], X[:1], X[:5], X):
        Z = NATIVE.plain_predict(*net, rows)
        np.testing.assert_array_equal(Z, NATIVE.predict(*net, np.atleast_2d(rows), 1))
    for loss in ("half_squared_error", "cross_entropy"):
        aim = Objective(loss, l2=0.1)
        (e1, g1), (e2, g2) = (
            NATIVE.plain_loss_and_gradient(*net, X, L, aim), NATIVE.loss_and_gradient(*net, X, L, aim, None, 1)
        )  # fmt: skip
        assert e1 == e2
        np.testing.assert_array_equal(g1, g2)
    other = np.float64 if dtype == "float32" else np.float32
    bad = X.copy()
    bad[4, 2] = np.nan
    large = X.copy()
    large[8, 4] = np.inf
    not_plain = (X.tolist(), X.astype(other), X[:, :4], X[:, ::-1], X.astype(int), X[:0], bad, large, None, X[None])
    for rows in not_plain:
        assert NATIVE.plain_predict(*net, rows) is None
        assert NATIVE.plain_loss_and_gradient(*net, rows, L, Objective()) is None
    assert NATIVE.plain_loss_and_gradient(*net, X, -L, Objective("cross_entropy")) is None
    assert NATIVE.plain_loss_and_gradient(*net, X, L[:, 0], Objective()) is None
    assert NATIVE.plain_loss_and_gradient(*net, X, L[:8], Objective()) is None
    with pytest.raises(ValueError, match="theta does not have the network's size"):
        NATIVE.plain_predict(theta[:-1], sizes, activations, X)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("inputs", [255, 256, 300, 777])
def test_sums_in_halves(inputs, dtype, native):
    """Sums over many inputs are made in halves, by two threads where there are two: in training and in every answer."""
    varied = {"solver": "adam", "dropout": 0.2, "l2": 0.01, "sample_weight": np.arange(1, 281)}
    for sizes, activation, settings in (
        ([inputs, 1], "tanh", {}),
        ([inputs, 9], "tanh", {"clip": 0.1}),
        ([inputs, 33, 4], "silu", varied),
        ([inputs, 256, 3], "relu", {"max_norm": 0.5}),
        ([inputs, 200, 3], "tanh", {}),
        ([inputs, 257, 3], "tanh", {}),
        ([inputs, 20, 17, 5], "gelu", varied),
        ([4, inputs, 10], "tanh", {"momentum": 0.9}),
        ([5, 40, inputs, 12], "silu", {**varied, "max_norm": 0.5}),
        ([inputs, 20, inputs, 9], "tanh", {}),
    ):
        fast, slow = pair(sizes, dtype, activation=activation, output="identity")
        X, L = problem(sizes, 280, dtype)
        Z = {rows: slow.predict(X[:rows]) for rows in (1, 3, 30)}
        J, g = slow.jacobian(X[:5]), slow.loss_and_gradient(X, L)[1]
        for threads in (1, 2):
            for rows in Z:
                assert_close(fast.predict(X[:rows], n_threads=threads), Z[rows], dtype)
            assert_close(fast.jacobian(X[:5], n_threads=threads), J, dtype)
            assert_close(fast.loss_and_gradient(X, L, n_threads=threads)[1], g, dtype)
        for batch, n in ((3, 45), (40, 280), (280, 280)):
            how = {**settings, "learning_rate": 0.001, "batch_size": batch, "epochs": 1}
            if "sample_weight" in how:
                how["sample_weight"] = np.arange(1, n + 1)
            before = fast.parameters.copy()
            chainrule.train(slow, X[:n], L[:n], **how)
            for threads in (1, 2):
                fast.parameters = before
                chainrule.train(fast, X[:n], L[:n], n_threads=threads, **how)
                scale = np.abs(slow.parameters).max()
                np.testing.assert_allclose(fast.parameters, slow.parameters, atol=100 * TOLERANCE[dtype] * scale)
            slow.parameters = fast.parameters


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_columns_and_panels_give_the_same_bits(dtype, native):
    """A dropout of nothing wants panels; without one the cheaper layout is taken, for these the columns."""
    for sizes in ([4, 32, 16, 4], [1, 1, 1], [9, 20, 1], [300, 9, 2], [5, 18]):
        X, L = problem(sizes, 400, dtype)
        theta = np.random.default_rng(0).normal(0, 0.3, sum(o * (i + 1) for i, o in itertools.pairwise(sizes)))
        found = set()
        for dropout, threads in itertools.product(((), (0.0,) * (len(sizes) - 1)), (1, 2)):
            learned, activations = theta.astype(dtype), ("silu",) * (len(sizes) - 1)
            for batch in (16, 250, 400):
                settings = Settings(Objective(), "adam", batch, dropout=dropout)
                state = State.start("adam", learned, 0.1)
                NATIVE.run_epochs(
                    learned, sizes, activations, X, L, None, settings, np.array([0.01]), state, 2, threads
                )
            found.add(learned.tobytes())
        assert len(found) == 1, sizes


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
    "dropout": (
        [20, 35, 18, 4],
        {"solver": "adamw", "dropout": [0.1, 0.5, 0.3], "label_smoothing": 0.1, "schedule": "onecycle"},
        "relu",
        "softmax",
        "cross_entropy",
    ),
    "bounded": (
        [9, 21, 3],
        {"solver": "nesterov", "clip": 0.5, "max_norm": 1.0, "learning_rate": 0.02, "schedule": "cosine"},
        "tanh",
        "identity",
        "huber",
    ),
    "counts": ([6, 17, 2], {"solver": "rmsprop", "schedule": "step", "drop_period": 1}, "silu", "exp", "poisson"),
    "spread": ([7, 20, 4], {"solver": "adam", "weight_decay": 0.1}, "gelu", "identity", "gaussian"),
    "signs": ([8, 11, 3], {"solver": "rprop", "quantile": [0.1, 0.5, 0.9]}, "exp", "identity", "quantile"),
    "images": (
        [300, 30, 10],
        {"batch_size": 11, "dropout": [0.2, 0.3], "learning_rate": 0.01},
        "silu",
        "softmax",
        "cross_entropy",
    ),
    "pixels": ([260, 12], {"solver": "adam", "batch_size": 280}, "sigmoid", "sigmoid", "binary_cross_entropy"),
    "long": (
        [300, 20, 16, 260, 9],
        {"solver": "adam", "batch_size": 11, "dropout": [0.1, 0.2, 0.0, 0.3]},
        "silu",
        "identity",
        "huber",
    ),
    "distorted": (
        [99, 21, 18, 3],
        {"solver": "adam", "batch_size": 13, "augment": chainrule.Augmentation(shape=(11, 9))},
        "relu",
        "softmax",
        "cross_entropy",
    ),
    "signs kept": (
        [9, 21, 18, 2],
        {"solver": "adam", "batch_size": 13, "monotone": [1, 0, -1] * 3},
        "tanh",
        "softplus",
        "half_squared_error",
    ),
    "embedded": (
        [21, 30, 18, 2],
        {
            "solver": "adamw",
            "batch_size": 13,
            "dropout": [0.1, 0.0, 0.2],
            "embedding": [0] * 9 + [1, 2] + [3] * 8 + [4, 5],
        },
        ["identity", "silu"],
        "identity",
        "half_squared_error",
    ),
    "moved": (
        [99, 40, 18, 3],
        {
            "solver": "adamw",
            "batch_size": 13,
            "augment": chainrule.Augmentation(shape=(11, 9)),
            "dropout": [0.1, 0.2, 0.3],
            "adversarial": 0.1,
        },
        "gelu",
        "softmax",
        "cross_entropy",
    ),
    "wide": ([6, 270, 12], {"batch_size": 7, "learning_rate": 0.01}, "tanh", "identity", "half_squared_error"),
}


def train_recipe(recipe, dtype, threads=1):
    """Its data are the package's own random bits: NumPy's differ between machines."""
    sizes, settings, activation, output, loss = RECIPES[recipe]
    X = (4 * generator.uniform(0, 0, 300 * sizes[0]) - 2).reshape(300, -1).astype(dtype)
    L = generator.uniform(0, 1, 300 * sizes[-1] // LOSSES[loss].per_label).reshape(300, -1).astype(dtype)
    if loss == "cross_entropy":
        L = L.argmax(axis=1)
    net = chainrule.Network(sizes, activation=activation, output=output, seed=4, dtype=dtype, engine="native")
    return net, X, L, chainrule.train(net, X, L, loss=loss, epochs=3, seed=9, n_threads=threads, **settings)


def trained(recipe, dtype, threads=1):
    """The hash of all that a recipe computes."""
    settings, loss = RECIPES[recipe][1], RECIPES[recipe][-1]
    net, X, L, history = train_recipe(recipe, dtype, threads)
    Z = net.predict(X, n_threads=threads)
    constants = {name: settings[name] for name in ("quantile", "label_smoothing") if name in settings}
    e, g = net.loss_and_gradient(X, L, loss=loss, n_threads=threads, **constants)
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


# Of the recipes in float32, the hash of the trained parameters that `train` reports, and one of all that is computed: the
# same on every processor and compiler. Where a change of the arithmetic is meant, the failing test prints the new ones.
GOLDEN = {
    "textbook": ("6f27788e17d94fa6", "06bc63bf57ab2f99"),
    "narrow": ("5d1df483a8756e86", "2387f889e7455933"),
    "deep": ("a9c0e723e272cc31", "902fc6d903531ea7"),
    "one by one": ("124814b1c85cbb41", "f8b03c04dbbf73f9"),
    "full batch": ("4f41c0e32769fe87", "0211b40d851a7439"),
    "dropout": ("8ae716655855eac0", "c774debc7d6153f7"),
    "bounded": ("c598e9f715887b14", "f9b8f4fed2a427ef"),
    "counts": ("6f0b2b2e05c10ae3", "056d6eea01657266"),
    "spread": ("1718bf49359c8a34", "4608040bed661706"),
    "signs": ("f6f8871271008de6", "73e7abdd2175b16c"),
    "images": ("13631fd246da8d5b", "3e90ce4b7d077b03"),
    "pixels": ("b94ad13aa4e61092", "6b232f5fe2e93f01"),
    "long": ("ba1262d9b9714e8b", "32f65a91abf4c756"),
    "distorted": ("aea31ac27aedc82b", "8393b28cdcc20c28"),
    "signs kept": ("bc9a78f3572062e3", "542c9fa02cb9a92e"),
    "embedded": ("035495e29e7d4b2d", "363b508aecec34de"),
    "moved": ("4fc71ba6d18e3827", "8228f6a0d127351b"),
    "wide": ("01e5ceadf33b94d7", "a45d96e69fb28d66"),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_golden_bits(recipe, native):
    assert (train_recipe(recipe, "float32")[-1].hash, trained(recipe, "float32")[:16]) == GOLDEN[recipe]


# ---- the core alone ----------------------------------------------------------------------------------------------------

CORE = Path(__file__).parents[1] / "core"
FLAGS = ["-std=c++20", "-Og", "-ffp-contract=off", "-fno-math-errno", "-Wno-psabi", "-pthread"]
COMPILERS = {  # of the kernels' tables, with the bytes of a vector, and what runs the program
    "x86-64": ("g++", {"x86_64_v3": (32, "x86-64-v3", ["-mavx2", "-mfma"])}, []),
    "aarch64": ("aarch64-linux-gnu-g++", {"neon": (16, "neon", [])}, ["qemu-aarch64-static"]),
}


def build_core(folder, compiler, tables, *flags):
    """training.cpp with the core, compiled for a processor: the program."""
    jobs = []
    for table, (size, name, units) in tables.items():
        defined = {"TABLE": table, "NAME": f'"{name}"', "VECTOR_BYTES": size, "ROWS": 8 if size == 16 else 6}
        macros = [f"-DCHAINRULE_{k}={v}" for k, v in defined.items()]
        jobs.append([*units, *macros, "-c", str(CORE / "kernels.cpp"), "-o", f"{table}.o"])
    # Of the tables that this processor could run, those that were compiled.
    text = (CORE / "dispatch.cpp").read_text().replace("if (v4) sets", "if (false) sets")
    (folder / "dispatch.cpp").write_text(text)
    stub = folder / "v4.cpp"
    stub.write_text('#include "kernels.hpp"\nnamespace chainrule { extern const InstructionSet x86_64_v4; '
                    "const InstructionSet x86_64_v4{}; }\n")  # fmt: skip
    sources = [CORE / "train.cpp", CORE / "predict.cpp", CORE / "least_squares.cpp", folder / "dispatch.cpp", stub]
    sources.append(Path(__file__).with_name("training.cpp"))
    jobs += [[f"-I{CORE}", "-c", *map(str, sources)]]

    def compile_(job):
        subprocess.run([compiler, *FLAGS, *flags, *job], check=True, cwd=folder)

    with ThreadPoolExecutor() as pool:
        list(pool.map(compile_, jobs))
    compile_([*map(str, folder.glob("*.o")), "-o", "training"])
    return folder / "training"


def run_core(program, *runner, **settings):
    """Its hashes, one of each instruction set."""
    words = [f"{name}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in settings.items()]
    done = subprocess.run([*runner, str(program), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.split()[1] for line in done.stdout.splitlines()]


# On a processor of another kind by default; on this one, for which the package itself was compiled, among the slow ones.
@pytest.fixture(scope="session", params=[pytest.param("x86-64", marks=pytest.mark.slow), "aarch64"])
def core_alone(request, tmp_path_factory):
    """A function that runs training.cpp on a processor of this kind with some settings."""
    compiler, tables, runner = COMPILERS[request.param]
    for program in (compiler, *runner):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here (Debian: g++-aarch64-linux-gnu, qemu-user-static)")
    if request.param == "x86-64" and os.uname().machine != "x86_64":
        pytest.skip("compiles for x86-64")
    program = build_core(tmp_path_factory.mktemp(request.param), compiler, tables, "-static")
    return functools.partial(run_core, program, *runner)


def settings_of_core(recipe, dtype, monkeypatch):
    """What training.cpp is to be told, and the hash that `train` reports."""
    called = {}
    run_epochs = NATIVE.run_epochs

    def listen(theta, sizes, activations, X, L, weight, settings, rates, state, epochs, n_threads):
        called.update(
            sizes=sizes, activations=activations, settings=settings, rates=rates, epochs=epochs, labels=L.shape[1]
        )
        return run_epochs(theta, sizes, activations, X, L, weight, settings, rates, state, epochs, n_threads)

    monkeypatch.setattr(NATIVE, "run_epochs", listen)
    net, X, _, history = train_recipe(recipe, dtype)
    settings = called.pop("settings")
    how, images = dataclasses.asdict(settings), settings.augment
    if how.pop("augment"):
        bounds = (images.angle, images.scale, images.shear, images.shift, images.elastic, images.smoothness)
        how["images"] = (*images.size, *(float(bound).hex() for bound in bounds))
    how.update(how.pop("objective"), shuffle=int(how["shuffle"]))
    how.update(called, rates=tuple(rate.hex() for rate in called["rates"].tolist()), sizes=tuple(called["sizes"]))
    return {**how, "dtype": dtype, "rows": len(X), "initial": net.seed}, history.hash


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_core_alone_trains_to_the_same_bits(recipe, dtype, core_alone, monkeypatch):
    """Without Python, and on a processor of another kind: the hash that `train` reports here."""
    how, expected = settings_of_core(recipe, dtype, monkeypatch)
    for threads in (1, 3):
        assert {hash[:16] for hash in core_alone(**how, threads=threads)} == {expected}


LEAST_SQUARES = {
    "single": [1, 1, 1],
    "wide": [5, 17, 1],
    "deep": [3, 7, 9, 2],
    "linear": [4, 3],
    "several": [6, 9, 5],
}


def normal_equations(sizes, threads, rows=150):
    """The normal equations at the initial values, and what is solved by them; and three steps with their evidence."""
    net = chainrule.Network(sizes, activation="tanh", output="identity", seed=4, dtype="float64")
    X = (4 * generator.uniform(0, 0, rows * sizes[0]) - 2).reshape(rows, -1)
    L = generator.uniform(0, 1, rows * sizes[-1]).reshape(rows, -1)
    A, _ = NATIVE.normal_equations(net.parameters, net.sizes, net.activations, X, L, None, np.ones(sizes[-1]), threads)
    n = len(net.parameters)
    half = np.full(n, 0.5)
    upper = np.concatenate([A[i, i : n + 1] for i in range(n + 1)])
    U = NATIVE.factor(A, half)
    step = NATIVE.solve(U, np.ascontiguousarray(A[:n, n]))
    found = [upper, step, NATIVE.inverse_diagonal(U)]
    group, theta, damping = group_parameters(sizes), net.parameters.copy(), 1e-2
    alpha, beta, known = np.full(group.max() + 1, 0.1), np.full(sizes[-1], 10.0), np.full(sizes[-1], float(rows))
    for _ in range(3):
        squares, damping, (log, effective, alpha, beta) = NATIVE.least_squares_step(
            theta, net.sizes, net.activations, X, L, None, alpha[group], beta, damping, group, alpha, known, threads
        )
        found += [theta.copy(), squares, alpha, beta, [log, effective, damping]]
    return net, X, L, np.concatenate(found)


@pytest.mark.parametrize("name", LEAST_SQUARES)
def test_the_core_alone_solves_to_the_same_bits(name, core_alone, native):
    net, X, L, expected = normal_equations(LEAST_SQUARES[name], 1)
    how = {"sizes": net.sizes, "activations": net.activations, "rows": len(X), "labels": L.shape[1], "initial": 4}
    for threads in (1, 2, 3):
        assert np.array_equal(normal_equations(LEAST_SQUARES[name], threads)[-1], expected)
        hashes = core_alone(**how, least_squares=1, dtype="float64", threads=threads)
        assert set(hashes) == {hashlib.sha256(expected.tobytes()).hexdigest()}


def steps(engine, sizes, weighted, threads=1, rows=90):
    """Parameters, squares, damping and evidence of five steps, of which three listen; of NaN and weight 0, too."""
    rng = np.random.default_rng(3)
    net = chainrule.Network(sizes, activation="tanh", output="identity", seed=1, dtype="float64")
    X = rng.normal(size=(rows, sizes[0]))
    L = np.sin(X @ rng.normal(size=(sizes[0], sizes[-1]))) + 0.1 * rng.normal(size=(rows, sizes[-1]))
    L[::7, 0] = np.nan
    weight = rng.integers(0, 3, rows) / 1.0 if weighted else None
    group = group_parameters(sizes)
    theta, alpha, beta, damping = net.parameters.copy(), np.full(group.max() + 1, 0.1), np.full(sizes[-1], 10.0), 1e-2
    known, found = (~np.isnan(L)).sum(axis=0).astype(float), []
    for k in range(5):
        listening = (group, alpha) if k > 1 else (None, None)
        squares, damping, heard = engine.least_squares_step(
            theta, net.sizes, net.activations, X, L, weight, alpha[group], beta, damping, *listening, known, threads
        )
        found += [theta.copy(), squares, [damping]]
        if heard is not None:
            *log_and_effective, alpha, beta = heard
            found += [log_and_effective, alpha, beta]
    assert len(found) == 15 + 9
    return np.concatenate(found)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [[4, 7, 1], [3, 5, 6, 2], [1, 2, 3]], ids=str)
def test_steps_of_least_squares(sizes, weighted, native):
    expected = steps(reference, sizes, weighted)
    one = steps(NATIVE, sizes, weighted)
    np.testing.assert_allclose(one, expected, rtol=1e-6, atol=1e-8)
    assert all(np.array_equal(steps(NATIVE, sizes, weighted, threads), one) for threads in (2, 3))


def test_steps_have_the_same_bits_on_every_instruction_set():
    if NATIVE is None:
        pytest.skip("the C++ engine is not installed")
    before, found = NATIVE.instruction_set(), set()
    try:
        for isa in SETS:
            NATIVE.select(isa)
            found.add(steps(NATIVE, [3, 5, 6, 2], True).tobytes())
    finally:
        NATIVE.select(before)
    assert len(found) == 1


def test_steps_are_the_textbooks_made_of_the_cores_parts(native, monkeypatch):
    """To the last bit: the order of sums, the logarithms, the choice of a bend."""
    for name in ("normal_equations", "factor", "solve", "inverse_diagonal"):
        monkeypatch.setattr(reference, name, getattr(NATIVE, name))
    monkeypatch.setattr(reference, "loss_and_gradient", lambda *given: NATIVE.loss_and_gradient(*given[:-1], None, 1))
    monkeypatch.setattr(reference, "predict", lambda *given: NATIVE.predict(*given, 1))
    for sizes in ([4, 7, 1], [3, 5, 6, 2]):
        for weighted in (False, True):
            assert np.array_equal(steps(reference, sizes, weighted), steps(NATIVE, sizes, weighted))


def test_a_step_that_leads_nowhere(engine):
    """At the least F no step lowers it: the parameters stay as they are."""
    run = reference if engine.name == "reference" else NATIVE
    X, theta = np.arange(6.0)[:, None], np.zeros(2)
    held = theta.copy()
    given = ((1, 1), ("identity",), X, np.zeros((6, 1)), None, np.ones(2), np.ones(1))
    squares, damping, heard = run.least_squares_step(held, *given, 1e-2, None, None, np.full(1, 6.0), 1)
    assert (squares, heard) == (None, None)
    assert damping > 1e9
    np.testing.assert_array_equal(held, theta)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beta": np.ones(2)}, "beta and known must have one number for each output"),
        ({"known": np.ones(2)}, "beta and known must have one number for each output"),
        ({"decay": np.ones(3)}, "decay and group must be as long as theta"),
        ({"group": np.zeros(3, dtype=np.int64)}, "decay and group must be as long as theta"),
        ({"group": np.full(2, 5)}, "group must have a place of alpha for each parameter"),
        ({"n_threads": 0}, "n_threads must be 1 or more"),
    ],
    ids=str,
)
def test_steps_refuse_what_does_not_fit(changed, message, native):
    given = {
        "theta": np.zeros(2), "sizes": (1, 1), "activations": ("identity",), "X": np.ones((6, 1)), "L": np.ones((6, 1)),
        "weight": None, "decay": np.ones(2), "beta": np.ones(1), "damping": 1e-2, "group": None, "alpha": np.ones(2),
        "known": np.ones(1), "n_threads": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        NATIVE.least_squares_step(**given | changed)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [*LEAST_SQUARES.values(), [6, 3, 33]], ids=str)
def test_normal_equations(sizes, weighted, native, rng):
    """Against the textbook's, and the answers against what they solve."""
    net = chainrule.Network(sizes, activation="tanh", output="identity", seed=1, dtype="float64", engine="native")
    X, L = rng.normal(size=(130, sizes[0])), rng.normal(size=(130, sizes[-1]))
    weight, precision = rng.random(130) if weighted else None, rng.random(sizes[-1]) + 0.5
    given = (net.parameters, net.sizes, net.activations, X, L, weight, precision, 2)
    (A, squares), (slow, exact) = NATIVE.normal_equations(*given), reference.normal_equations(*given)
    n = len(net.parameters)
    np.testing.assert_allclose(np.triu(A[:, : n + 1]), np.triu(slow), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(squares, exact, rtol=1e-11)
    w = np.ones(130) if weight is None else weight
    np.testing.assert_allclose(A[n, n], w @ (precision * (net.predict(X) - L) ** 2).sum(axis=1), rtol=1e-12)

    diagonal, b = rng.random(n) + 0.1, rng.normal(size=n)
    H = np.triu(slow[:n, :n]) + np.triu(slow[:n, :n], 1).T + np.diag(diagonal)
    for engine, matrix in ((NATIVE, A), (reference, slow)):
        U = engine.factor(matrix, diagonal)
        np.testing.assert_allclose(H @ engine.solve(U, b), b, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(engine.inverse_diagonal(U), np.diag(np.linalg.inv(H)), rtol=1e-7)
        np.testing.assert_allclose(2 * np.log(np.diag(U)).sum(), np.linalg.slogdet(H)[1], rtol=1e-9)
        assert engine.factor(matrix, np.full(n, -1e9)) is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="compiles for x86-64 Linux")
def test_threads_do_not_race(tmp_path, monkeypatch):
    """Under ThreadSanitizer, which sees where two threads touch a number with no barrier between."""
    compiler, tables, _ = COMPILERS["x86-64"]
    program = build_core(tmp_path, compiler, tables, "-fsanitize=thread", "-g", "-O1")
    for recipe, threads in itertools.product(RECIPES, (2, 3)):
        how, expected = settings_of_core(recipe, "float32", monkeypatch)
        assert run_core(program, **how, threads=threads)[0][:16] == expected, recipe


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_core_alone_computes_the_same_functions(name, dtype, core_alone):
    i = np.arange(-4000, 4001).astype(dtype)
    x = np.stack([i / 128, i * i * i / np.dtype(dtype).type(1e9)], axis=1)
    y, slope = NATIVE.evaluate(name, x.ravel())
    assert set(core_alone(evaluate=name, dtype=dtype)) == {hashlib.sha256(y.tobytes() + slope.tobytes()).hexdigest()}


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_jacobians_do_not_depend_on_threads_or_instructions(dtype):
    hashes = set()
    X = (4 * generator.uniform(0, 0, 40 * 9) - 2).reshape(40, 9).astype(dtype)
    for isa in SETS:
        NATIVE.select(isa)
        net = chainrule.Network([9, 33, 18, 5], "silu", "softmax", seed=2, dtype=dtype, engine="native")
        for threads in (1, 2, 3):
            hashes.add(net.jacobian(X, n_threads=threads).tobytes())
            hashes.add(net.parameter_jacobian(X, n_threads=threads).tobytes())
    NATIVE.select(SETS[0])
    assert len(hashes) == 2


def test_hash_of_the_history_is_that_of_the_parameters(engine):
    net = chainrule.Network([3, 4, 2], seed=1, engine=engine.name)
    X, L = problem([3, 2], 20, "float32")
    history = chainrule.train(net, X, L, epochs=2)
    assert history.hash == hashlib.sha256(net.parameters.astype("<f4").tobytes()).hexdigest()[:16]
    assert chainrule.train(net, X, L, epochs=0).hash == history.hash
    assert chainrule.train(net, X, L, epochs=1).hash != history.hash


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
        ([300, 400, 10], "train(net, X[:4000], L[:4000], solver='lbfgs', epochs=10**6, tol=0)"),
        ([1, 800, 1], "train(net, X[:99], L[:99], solver='levenberg_marquardt', epochs=10**6, tol=0)"),
    ],
    ids=["small steps", "one step over all rows", "narrow, wide, narrow", "lbfgs", "least squares"],
)
def test_ctrl_c_stops_at_once_and_keeps_what_was_learned(sizes, work, compiled):
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
            time.sleep(1.2)
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


def test_ctrl_c_stops_a_long_prediction(compiled):
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


def test_daemon_thread_at_exit(compiled):
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


def test_threads_that_the_system_does_not_give(compiled):
    code = """
        import resource
        import numpy as np, chainrule
        net, X = chainrule.Network([3, 3, 3]), np.ones((40, 3))
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


@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is limited as Linux does it")
def test_memory_that_the_system_does_not_give():
    """It is said how much it was; the network is as it was, and what needs less goes on."""
    done = run(
        """
        import resource
        import numpy as np, chainrule
        X = np.ones((300, 1))
        net, small = chainrule.Network([1, 1_000_000, 1]), chainrule.Network([1, 4, 1])
        before = net.parameters.copy()
        held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + 300_000_000,) * 2)
        for work in (
            lambda: net.loss_and_gradient(X, X),
            lambda: net.jacobian(X),
            lambda: chainrule.train(net, X, X, epochs=1, batch_size=300),
        ):
            try:
                work()
            except MemoryError as error:
                print(error, (net.parameters == before).all(), chainrule.train(small, X, X, epochs=3).epochs)
        """
    )
    found = re.findall(r"^the system does not give \d{3} MB of memory: .* True 3$", done.stdout, re.MULTILINE)
    assert len(found) == 3, (done.stdout, done.stderr)


def test_arguments_of_the_core_are_checked(native):
    """By direct callers of _native, too: nothing may read or write where it should not."""
    theta, X, L, none = np.zeros(8, "f"), np.ones((4, 3), "f"), np.ones((4, 2), "f"), np.zeros(0, "f")
    net = [3, 2], ["sigmoid"]
    with pytest.raises(ValueError, match="n_threads must be 1 or more"):
        NATIVE.predict(theta, *net, X, 0)
    with pytest.raises(ValueError, match="n_threads must be 1 or more"):
        NATIVE.loss_and_gradient(theta, *net, X, L, Objective(), None, 0)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        NATIVE.loss_and_gradient(theta, *net, X, L, Objective(), np.ones(4), 1)
    with pytest.raises(ValueError, match="sizes must be 1 or more each"):
        NATIVE.predict(theta, [3, -1, 2], ["sigmoid", "sigmoid"], X, 1)
    with pytest.raises(ValueError, match=r"objective\.constants must have one number for each output"):
        NATIVE.mean_loss(theta, *net, X, L, Objective("huber", (1.0,)), None, 1)
    with pytest.raises(ValueError, match="L, X and sizes disagree"):
        NATIVE.mean_loss(theta, *net, X, L, Objective("gaussian"), None, 1)

    def run_epochs(rates=1, epochs=1, velocity=none, **settings):
        how = Settings(Objective(), **{"step": "descent", "batch_size": 2, **settings})
        return NATIVE.run_epochs(theta, *net, X, L, None, how, np.full(rates, 0.1), State(velocity, none), epochs, 1)

    for message, bad in {
        "step 'gradient' is not known": {"step": "gradient"},
        "batch_size must be 1 or more": {"batch_size": 0},
        "dropout must have one number for each layer": {"dropout": (0.1, 0.1)},
        "dropout must be 0 or more and below 1": {"dropout": (1.0,)},
        "embedding must have the column of each input": {"embedding": (0, 0, 1)},  # of one layer alone
        "rates must have one number, or one for each step": {"rates": 3, "epochs": 2},
        "state does not have the size of theta": {"step": "momentum", "velocity": np.zeros(7, "f")},
    }.items():
        with pytest.raises(ValueError, match=message):
            run_epochs(**bad)
    assert run_epochs(rates=2)[1] == "finished"


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
        arguments = net.parameters, net.sizes, net.activations, rows, labels, Objective(loss)
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


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the highest resident memory is Linux's to tell")
@pytest.mark.parametrize("kind", ["uint8", "memory map", "Fortran"])
def test_input_is_read_where_it_lies(kind, tmp_path):
    """The highest resident memory of a training: the input and the parameters, and little more."""
    make = {
        "uint8": "np.full((60_000, 784), 7, dtype=np.uint8)",
        "memory map": f"np.memmap({str(tmp_path / 'X.bin')!r}, dtype='f', mode='w+', shape=(20_000, 784))",
        "Fortran": "np.zeros((784, 10_000)).T + 0.5",
    }[kind]
    done = run(
        f"""
        import re
        import numpy as np, chainrule
        peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
        net = chainrule.Network([784, 30, 10])
        few = np.zeros((20, 784), "f")
        chainrule.train(net, few, np.arange(20) % 10, epochs=1)
        net.predict(few)
        before = peak()
        X = {make}
        L = np.arange(len(X)) % 10
        chainrule.train(net, X, L, epochs=2, batch_size=10, validation=(X[:100], L[:100]))
        net.predict(X)
        print((peak() - before) / (X.nbytes + net.parameters.nbytes))
        """
    )
    assert 0.5 < float(done.stdout) < 1.3, done.stderr


@pytest.mark.parametrize("sizes", [[4, 32, 16, 4], [24, 8, 2], [70, 70, 3]], ids=str)
def test_losses_are_summed_in_one_order(sizes):
    """Over many chunks, several batches an epoch, whatever threads and widths make of them: to the last bit."""
    X, L = problem(sizes, 5000, "float64")
    net = chainrule.Network(sizes, "tanh", "identity", dtype="float64")
    found = set()
    for isa in SETS:
        before = NATIVE.instruction_set()
        NATIVE.select(isa)
        for threads in (1, 2, 3):
            losses = []
            for batch in (600, 5000):
                copy = chainrule.Network(sizes, "tanh", "identity", dtype="float64")
                losses += chainrule.train(copy, X, L, batch_size=batch, epochs=2, n_threads=threads).loss
            loss, gradient = net.loss_and_gradient(X, L, n_threads=threads)
            found.add((*losses, loss, gradient.tobytes()))
        NATIVE.select(before)
    assert len(found) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the pages' protection is asked of Linux")
def test_nothing_is_read_past_the_end():
    """Vectors may reach past a row, never past an array: each ends where a page begins that may not be read."""
    done = run(
        """
        import ctypes, mmap
        import numpy as np
        from chainrule import _native
        from chainrule.functions import Objective
        from chainrule.optimizers import Settings, State
        protect = ctypes.CDLL(None).mprotect
        held = []
        def last(array):
            pages = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
            memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
            begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            assert protect(ctypes.c_void_p(begin + pages), mmap.PAGESIZE, 0) == 0
            there = np.frombuffer(memory, array.dtype, array.size, pages - array.nbytes).reshape(array.shape)
            there[...] = array
            held.append(memory)
            return there
        rng = np.random.default_rng(0)
        for isa in _native.instruction_sets():
            _native.select(isa)
            for dtype in ("float32", "float64"):
                for sizes in ([1, 1], [3, 2], [4, 20, 3], [15, 17, 1], [16, 40, 16], [33, 5, 40], [50, 70],
                              [260, 10]):
                    n_parameters = sum(o * (i + 1) for i, o in zip(sizes, sizes[1:]))
                    theta = last(rng.normal(size=n_parameters).astype(dtype))
                    activations = ("tanh",) * (len(sizes) - 1)
                    state = State(*(last(np.zeros_like(theta)) for _ in range(2)), np.ones(2), 0)
                    for rows in (1, 5, 16, 35, 300):
                        L = last(rng.random((rows, sizes[-1])).astype(dtype))
                        plain = [last(rng.random((rows, sizes[0])).astype(kind)) for kind in (dtype, "float32", "uint8")]
                        wide = last(rng.random((rows, sizes[0] + 3)).astype(dtype))
                        strange = [wide[:, -sizes[0]:], plain[0][::-1], np.broadcast_to(plain[0][-1:], plain[0].shape)]
                        for X in plain + strange:
                            _native.parameter_jacobian(theta, sizes, activations, X[:20], 1)
                            _native.predict(theta, sizes, activations, X, 2)
                            _native.jacobian(theta, sizes, activations, X, 1)
                            _native.mean_loss(theta, sizes, activations, X, L, Objective(), None, 1)
                            _native.loss_and_gradient(theta, sizes, activations, X, L, Objective(), None, 1)
                            for batch in (7, 64, rows):
                                settings = Settings(Objective(), "adam", batch)
                                for threads in (1, 2):
                                    _native.run_epochs(theta, sizes, activations, X, L, None, settings,
                                                       np.array([0.01]), state, 1, threads)
        print("read to the end")
        """
    )
    assert done.stdout == "read to the end\n", (done.returncode, done.stderr)


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
        from chainrule.functions import Objective
        from chainrule.optimizers import Settings, State
        count = ctypes.CDLL(os.environ["LD_PRELOAD"]).malloc_calls
        count.restype = ctypes.c_long
        rng = np.random.default_rng(0)
        X, L = rng.random((1000, 20), dtype="f"), rng.random((1000, 3), dtype="f")
        theta = np.zeros(20 * 30 + 30 + 30 * 3 + 3, "f")
        def calls(epochs, threads, batch):
            more = dict(clip=0.5, max_norm=2.0, adversarial=0.1, dropout=(0.1, 0.5))  # these want panels
            more = more if batch != 600 else {}
            settings = Settings(Objective(l2=0.01), "adam", batch, **more)
            state, rates = State.start("adam", theta, 0.1), np.array([0.1])
            before = count()
            _native.run_epochs(theta, [20, 30, 3], ["silu", "sigmoid"], X, L, None, settings, rates, state, epochs, threads)
            return count() - before
        for threads in (1, 2):
            for batch in (10, 300, 600):
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
    names = ("predict", "mean_loss", "loss_and_gradient", "run_epochs", "jacobian", "parameter_jacobian")
    for name in (*names, "normal_equations", "factor", "solve", "inverse_diagonal", "least_squares_step"):
        assert list(inspect.signature(getattr(reference, name)).parameters) == functions[name]
    state = State.start("adam", np.zeros(2), 0.1)
    with pytest.raises(TypeError):
        NATIVE.run_epochs(np.zeros(2), [1, 1], ["tanh"], state)

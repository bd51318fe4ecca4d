"""The derivation as it stands on paper, against the package: two layers written out, one dimension, gradient descent."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import chainrule
from chainrule import generator, reference
from chainrule.functions import ACTIVATIONS, LOSSES, Objective
from chainrule.optimizers import Settings, State, take_step

ROOT = Path(__file__).parents[1]


def sigma(x):
    return 1 / (1 + np.exp(-x))


def sigma_prime(x):
    return np.exp(-x) / (1 + np.exp(-x)) ** 2


def test_two_layers_written_out(engine, rng):
    net = chainrule.Network([5, 4, 3], seed=3, dtype="float64", engine=engine.name)
    net.v[:], net.u[:] = rng.normal(size=4), rng.normal(size=3)
    x, l = rng.normal(size=5), rng.random(3)

    p = net.V @ x + net.v
    y = sigma(p)
    q = net.U @ y + net.u
    z = sigma(q)
    dz = z - l
    dq = dz * sigma_prime(q)
    du = dq
    dU = np.outer(dq, y)
    dy = net.U.T @ dq
    dp = dy * sigma_prime(p)
    dv = dp
    dV = np.outer(dp, x)

    np.testing.assert_allclose(net.predict(x)[0], z, rtol=1e-14)
    loss, gradient = net.loss_and_gradient([x], [l])
    assert loss == pytest.approx(0.5 * np.sum((z - l) ** 2), rel=1e-14)
    np.testing.assert_allclose(gradient, np.concatenate([dV.ravel(), dv, dU.ravel(), du]), rtol=1e-12, atol=1e-17)

    alpha, before = 0.5, net.parameters.copy()
    chainrule.train(net, [x], [l], solver="gradient_descent", learning_rate=alpha, epochs=1)
    np.testing.assert_allclose(net.parameters, before - alpha * gradient, rtol=1e-14, atol=1e-17)


def test_one_dimension(engine):
    net = chainrule.Network([1, 1, 1], dtype="float64", engine=engine.name)
    V, v, U, u, x, l = 0.7, 0.1, -1.3, 0.2, 0.5, 0.9
    net.parameters = [V, v, U, u]
    p = V * x + v
    q = U * sigma(p) + u
    z = sigma(q)
    chain = (z - l) * sigma_prime(q) * U * sigma_prime(p) * x
    loss, (dV, dv, dU, du) = net.loss_and_gradient([[x]], [[l]])
    assert loss == pytest.approx(0.5 * (z - l) ** 2, rel=1e-14)
    assert [dV, dv] == pytest.approx([chain, chain / x], rel=1e-13)
    assert [dU, du] == pytest.approx([(z - l) * sigma_prime(q) * sigma(p), (z - l) * sigma_prime(q)], rel=1e-13)


def test_views_share_the_parameter_vector():
    net = chainrule.Network([3, 4, 2], seed=1)
    for view in (net.V, net.v, net.U, net.u):
        assert np.shares_memory(view, net.parameters)
    np.testing.assert_array_equal(
        net.parameters, np.concatenate([net.V.ravel(), net.v, net.U.ravel(), net.u]), strict=True
    )
    assert net.V.shape == net.layers[0].weights.shape == (4, 3)
    net.V = np.arange(12).reshape(4, 3)
    assert net.parameters[5] == 5
    deep = chainrule.Network([3, 4, 4, 2])
    with pytest.raises(AttributeError, match="two-layer"):
        _ = deep.V


def test_gradient_descent_path():
    path = chainrule.gradient_descent(lambda x: 2 * x, 1.0, 0.25, 3)
    np.testing.assert_array_equal(path, [1, 0.5, 0.25, 0.125])
    target = np.array([3.0, -1.0])
    path = chainrule.gradient_descent(lambda m: m - target, [0.0, 0.0], 0.5, 40)
    assert path.shape == (41, 2)
    np.testing.assert_allclose(path[-1], target, atol=1e-10)
    with pytest.raises(ValueError, match="shape of start"):
        chainrule.gradient_descent(lambda m: m[:1], [0.0, 0.0], 0.5, 1)
    with pytest.raises(FloatingPointError, match="rate=3"):
        chainrule.gradient_descent(lambda x: 2 * x, 1.0, 3.0, 2000)


def test_gradient_descent_on_a_network_is_training():
    net = chainrule.Network([2, 3, 1], seed=5, dtype="float64")
    X, L = np.array([[0.0, 1.0], [1.0, 1.0], [0.5, 0.0]]), np.array([[0.0], [1.0], [0.3]])
    start = net.parameters.copy()

    def derivative(m):
        net.parameters = m
        return net.loss_and_gradient(X, L)[1]

    path = chainrule.gradient_descent(derivative, start, 0.5, 20)
    net.parameters = start
    chainrule.train(net, X, L, solver="gradient_descent", learning_rate=0.5, epochs=20)
    np.testing.assert_allclose(net.parameters, path[-1], rtol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_of_activation(name):
    p = np.linspace(-6, 6, 101) + 0.013
    h = 1e-5
    difference = (ACTIVATIONS[name].value(p + h) - ACTIVATIONS[name].value(p - h)) / (2 * h)
    np.testing.assert_allclose(ACTIVATIONS[name].derivative(p), difference, atol=1e-9)


# ---- losses by hand ----------------------------------------------------------------------------------------------------


def test_losses_by_hand():
    q = np.array([[0.0, 1.0, -2.0, 3.0]])
    l = np.array([[0.5, 1.0, 0.0, 1.0]])
    e = [-0.5, 0.0, -2.0, 2.0]

    def value_and_slope(loss, constants=(), z=q, labels=l):
        objective = Objective(loss, constants)
        return objective.value(q, z, labels)[0], objective.derivative(q, z, labels)[0]

    value, slope = value_and_slope("huber", (1.0, 1.0, 1.0, 3.0))
    assert value == 0.5 * 0.25 + 0 + 1 * (2 - 0.5) + 0.5 * 4
    np.testing.assert_array_equal(slope, [-0.5, 0, -1, 2])
    value, slope = value_and_slope("quantile", (0.25, 0.25, 0.75, 0.75))
    assert value == 0.25 * 0.5 + 0 + 0.75 * 2 + 0.25 * 2
    np.testing.assert_array_equal(slope, [-0.25, 0, -0.75, 0.25])
    value, slope = value_and_slope("poisson", z=np.exp(q))
    assert value == pytest.approx(1 + np.e - 1 + np.exp(-2) + np.exp(3) - 3)
    np.testing.assert_allclose(slope, np.exp(q[0]) - l[0])
    value, slope = value_and_slope("gaussian", labels=l[:, :2])  # means 0 and 1, logs of variances −2 and 3
    assert value == pytest.approx(0.5 * (-2 + e[0] ** 2 * np.exp(2)) + 0.5 * 3)
    np.testing.assert_allclose(slope, [-0.5 * np.exp(2), 0, 0.5 * (1 - 0.25 * np.exp(2)), 0.5])


def test_constant_that_minimises_the_quantile_loss_is_the_quantile(rng):
    labels = rng.normal(size=(1001, 1))
    for tau in (0.1, 0.5, 0.8):
        aim = Objective("quantile", (tau,))
        slopes = [
            aim.derivative(z, z, labels).sum() for z in np.quantile(labels, [tau - 0.01, tau + 0.01])[:, None, None]
        ]
        assert slopes[0] < 0 < slopes[1]


# ---- steps by hand -----------------------------------------------------------------------------------------------------


def after_steps(step, gradients, rate=0.1, m=(1.0, -2.0, 0.5), **constants):
    """The parameters after each of some steps along given gradients."""
    m = np.array(m)
    settings, state, path = Settings(Objective(), step, 1, **constants), State.start(step, m, rate), []
    for g in gradients:
        take_step(settings, rate, m, np.array(g), state.velocity, state.square, state.powers)
        path.append(m.copy())
    return path, state


def test_rmsprop_by_hand():
    path, state = after_steps("rmsprop", [[2.0, -1.0, 0.0], [1.0, 1.0, 0.0]], beta2=0.75, epsilon=0.5)
    np.testing.assert_allclose(state.square, [0.75 * 0.25 * 4 + 0.25, 0.75 * 0.25 + 0.25, 0])
    first = np.array([1 - 0.1 * 2 / (1 + 0.5), -2 + 0.1 * 1 / (0.5 + 0.5), 0.5])
    np.testing.assert_allclose(path[0], first)
    np.testing.assert_allclose(path[1][:2], first[:2] - 0.1 / (np.sqrt([1.0, 0.4375]) + 0.5))
    assert state.velocity.size == 0


def test_rprop_by_hand():
    """The third parameter's slope keeps its sign, the first's changes and then changes back, the second's is 0 at last."""
    path, state = after_steps("rprop", [[3.0, -5.0, 0.1], [-1.0, -9.0, 0.2], [-1.0, 0.0, 0.3]])
    np.testing.assert_allclose(path[0], [1 - 0.1, -2 + 0.1, 0.5 - 0.1])
    np.testing.assert_allclose(path[1], [0.9, -1.9 + 0.12, 0.4 - 0.12])
    np.testing.assert_allclose(path[2], [0.9 + 0.05, -1.78, 0.28 - 0.144])
    np.testing.assert_allclose(state.square, [0.05, 0.12, 0.144])
    np.testing.assert_array_equal(state.velocity, [-1, 0, 0.3])


def test_lengths_of_rprop_have_ends():
    up, down = (
        after_steps("rprop", [[g] for g in slopes], m=(0.0,))[1] for slopes in ([1.0] * 60, [1.0, -1.0, 1.0] * 40)
    )
    assert up.square == 50
    assert down.square[0] < 0.1
    state = after_steps("rprop", [[s] for s in np.tile([1.0, -1.0, -1.0, 1.0, 1.0, -1.0], 1)], m=(0.0,), rate=1.5e-6)[1]
    assert state.square == 1e-6


def one_step(engine, X, L, net=None, **settings):
    net = net or chainrule.Network([3, 4, 2], "tanh", "identity", seed=2, dtype="float64", engine=engine.name)
    before = net.parameters.copy()
    chainrule.train(net, X, L, epochs=1, batch_size=len(X), shuffle=False, **settings)
    return net, before


@pytest.fixture
def rows(rng):
    return rng.normal(size=(5, 3)), rng.normal(size=(5, 2))


def test_decoupled_decay_by_hand(engine, rows):
    """(62) of the weights before the step, beside a penalty (40) of the same weights."""
    net, before = one_step(engine, *rows, learning_rate=0.1, weight_decay=0.3, l2=0.2)
    after = net.parameters.copy()
    net.parameters = before
    gradient = net.loss_and_gradient(*rows, l2=0.2)[1]
    weights = np.concatenate([np.r_[W.ravel(), 0 * b] for W, b, _ in net.layers])
    np.testing.assert_allclose(after, before - 0.1 * 0.3 * weights - 0.1 * gradient, rtol=1e-13, atol=1e-16)


def test_clipping_by_hand(engine, rows):
    """(65) of the gradient alone: the penalty's part is added to what was clipped."""
    net, before = one_step(engine, *rows, learning_rate=1.0, clip=0.01, l2=0.2)
    after = net.parameters.copy()
    net.parameters = before
    gradient = net.loss_and_gradient(*rows)[1]
    penalty = net.loss_and_gradient(*rows, l2=0.2)[1] - gradient
    assert np.linalg.norm(gradient) > 0.1
    expected = before - 0.01 * gradient / np.linalg.norm(gradient) - penalty
    np.testing.assert_allclose(after, expected, rtol=1e-12, atol=1e-15)
    net.parameters = before
    unclipped = one_step(engine, *rows, net, learning_rate=1.0, clip=1e3)[0].parameters
    np.testing.assert_allclose(unclipped, before - gradient, rtol=1e-12, atol=1e-15)


def test_max_norm_by_hand(engine, rows):
    """(66) of the hidden units, each by itself, not of the outputs, not of biases."""
    free = one_step(engine, *rows, learning_rate=0.1)[0]
    held = one_step(engine, *rows, learning_rate=0.1, max_norm=0.6)[0]
    norms = np.linalg.norm(free.V, axis=1)
    assert norms.min() < 0.6 < norms.max()
    np.testing.assert_allclose(held.V, free.V * np.minimum(1, 0.6 / norms)[:, None], rtol=1e-13)
    for letter in "vUu":
        np.testing.assert_array_equal(getattr(held, letter), getattr(free, letter))


def test_dropout_by_hand(engine, rows):
    """(67) with the numbers that generator.py gives, forward and backward, in the second batch of the second epoch."""
    X, L = rows
    net = chainrule.Network([3, 4, 2], "tanh", "identity", seed=2, dtype="float64", engine=engine.name)
    state = chainrule.train(net, X, L, epochs=1, batch_size=3, shuffle=False, dropout=[0.2, 0.5], seed=6).state
    expected = net.parameters.copy()
    chainrule.train(net, X, L, epochs=1, batch_size=3, shuffle=False, dropout=[0.2, 0.5], seed=6, state=state,
                    learning_rate=0.1)  # fmt: skip
    V, v, U, u = (part.copy() for part in (np.split(expected, [12, 16, 24])))
    V, U = V.reshape(4, 3), U.reshape(2, 4)
    for batch, part in enumerate((slice(0, 3), slice(3, 5))):
        n = len(X[part])
        keep = [generator.kept(6, 1, batch * 2 + k, n * units, p).reshape(n, units) / (1 - p)
                for k, (units, p) in enumerate([(3, 0.2), (4, 0.5)])]  # fmt: skip
        x = X[part] * keep[0]
        y = np.tanh(x @ V.T + v)
        kept = y * keep[1]
        dq = (kept @ U.T + u - L[part]) / n
        dp = dq @ U * keep[1] * (1 - y**2)
        V, v, U, u = V - 0.1 * dp.T @ x, v - 0.1 * dp.sum(0), U - 0.1 * dq.T @ kept, u - 0.1 * dq.sum(0)
    np.testing.assert_allclose(net.parameters, np.concatenate([V.ravel(), v, U.ravel(), u]), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("rows_a_batch", [2, 5])
def test_adversarial_training_by_hand(rows_a_batch, engine, rows):
    """(100) from the Jacobian ∂z/∂x, which is made forward: each input moves to where its row's loss rises."""
    X, L = rows
    net = chainrule.Network([3, 4, 2], "tanh", "identity", seed=2, dtype="float64", engine=engine.name)
    by_hand = chainrule.Network([3, 4, 2], "tanh", "identity", seed=2, dtype="float64", engine=engine.name)
    history = chainrule.train(
        net, X, L, epochs=1, batch_size=rows_a_batch, shuffle=False, learning_rate=0.1, adversarial=0.3
    )
    losses = []
    for first in range(0, len(X), rows_a_batch):
        x, l = X[first : first + rows_a_batch], L[first : first + rows_a_batch]
        slope = np.einsum("nk,nkd->nd", by_hand.predict(x) - l, by_hand.jacobian(x))
        assert slope.all()
        (e, g), (e_moved, g_moved) = (by_hand.loss_and_gradient(at, l) for at in (x, x + 0.3 * np.sign(slope)))
        assert e_moved > e
        by_hand.parameters -= 0.1 * (g + g_moved) / 2
        losses.append(len(x) * (e + e_moved) / 2)
    np.testing.assert_allclose(net.parameters, by_hand.parameters, rtol=1e-12, atol=1e-15)
    assert history.loss[0] == pytest.approx(sum(losses) / len(X), rel=1e-12)


def test_what_dropout_keeps():
    """The share of 1 − p, other values in every batch, layer and epoch; and the very numbers, computed one by one."""
    keep = generator.kept(3, 5, 7, 100_000, 0.3)
    assert abs(keep.mean() - 0.7) < 0.005
    for other in (generator.kept(4, 5, 7, 100_000, 0.3), generator.kept(3, 6, 7, 100_000, 0.3),
                  generator.kept(3, 5, 8, 100_000, 0.3), np.roll(keep, 1)):  # fmt: skip
        assert abs(np.corrcoef(keep, other)[0, 1]) < 0.02
    assert generator.kept(0, 0, 0, 1000, 0.0).all()

    def mix(x):
        x = ((x ^ x >> 16) * 0x7FEB352D) % 2**32
        x = ((x ^ x >> 15) * 0x846CA68B) % 2**32
        return x ^ x >> 16

    key = int(generator.random_bits(3, (1 << 33) + 5, 7, 1)[0])
    low, high = key % 2**32, key >> 32
    by_hand = [mix((mix((i + low) % 2**32) + high) % 2**32) >= int(0.3 * 2**32) for i in range(500)]
    np.testing.assert_array_equal(keep[:500], by_hand)


# ---- explain -----------------------------------------------------------------------------------------------------------


def test_explain_scalar_chain_inserts_numbers():
    net = chainrule.Network([1, 1, 1], dtype="float64")
    net.parameters = [0.7, 0.1, -1.3, 0.2]
    explanation = chainrule.explain(net, 0.5, 0.9)
    assert [step.number for step in explanation.steps] == list(range(4, 18))
    assert explanation["∂ε/∂V"] == pytest.approx(net.loss_and_gradient([[0.5]], [[0.9]])[1][0])
    text = str(explanation)
    assert "p = V x + v = 0.7 · 0.5 + 0.1 = 0.45" in text
    assert "(z − l) σ′(q) U σ′(p) x" in text
    assert explanation.error < 1e-8


@pytest.mark.parametrize("activation", ["tanh", "exp"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sizes", [[3, 4, 2], [3, 5, 4, 2], [3, 2]], ids=str)
def test_explain_agrees_with_the_engine(sizes, loss, activation, rng):
    output = LOSSES[loss].output or "softmax"
    net = chainrule.Network(sizes, activation=activation, output=output, seed=2, dtype="float64")
    x = rng.normal(size=3)
    explanation = chainrule.explain(net, x, 1, loss=loss)
    assert explanation.error < 1e-7
    gradient = net.loss_and_gradient([x], [1], loss=loss)[1]
    names = [s.symbol for s in explanation.steps]
    first = "V" if len(sizes) == 3 else "W1"
    np.testing.assert_allclose(explanation[f"∂ε/∂{first}"].ravel(), gradient[: sizes[0] * sizes[1]], atol=1e-15)
    assert "ε" in names
    record = json.loads(explanation.json())
    assert record["error"] == explanation.error
    checked = [s for s in record["steps"] if s["symbol"].startswith("∂")]
    assert checked
    assert all(s["difference"] is not None for s in checked)


@pytest.mark.parametrize("loss", [name for name in LOSSES if LOSSES[name].per_label == 1 and name != "cross_entropy"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_explain_scalar_with_every_activation_and_loss(activation, loss):
    net = chainrule.Network([1, 1, 1], activation, LOSSES[loss].output or activation, dtype="float64")
    net.parameters = [0.7, 0.1, 1.3, 0.2]
    explanation = chainrule.explain(net, 0.5, 0.9, loss=loss, delta=0.05, quantile=0.2)
    assert explanation.error < 1e-7
    gradient = net.loss_and_gradient([[0.5]], [[0.9]], loss=loss, delta=0.05, quantile=0.2)[1]
    assert [float(explanation[f"∂ε/∂{letter}"]) for letter in "VvUu"] == pytest.approx(gradient.tolist(), rel=1e-9)
    assert explanation.steps[-1].value == pytest.approx(explanation["∂ε/∂V"])  # (17)
    numbers = {"huber": {74, 75}, "quantile": {76, 77}, "poisson": {78, 79}}.get(loss, set())
    assert numbers <= {step.number for step in explanation.steps}
    assert ("δ = 0.05" in str(explanation), "τ = 0.2" in str(explanation)) == (loss == "huber", loss == "quantile")


def test_explain_gaussian_and_the_quantiles_kink():
    net = chainrule.Network([2, 3, 4], "tanh", "identity", seed=1, dtype="float64")
    explanation = chainrule.explain(net, [0.3, -0.2], [0.5, 0.1], loss="gaussian")
    assert {80, 81} <= {step.number for step in explanation.steps}
    assert explanation.error < 1e-7
    assert explanation["∂ε/∂q"].shape == (4,)
    with pytest.raises(ValueError, match=r"l must have shape \(1, 2\), as the network has 4 outputs, 2 for each label"):
        chainrule.explain(net, [0.3, -0.2], [0.5, 0.1, 0, 0], loss="gaussian")
    flat = chainrule.Network([1, 1, 1], output="identity", dtype="float64")
    flat.parameters = [1.0, 0.0, 0.0, 0.5]
    assert "the kink of the quantile loss" in str(chainrule.explain(flat, 0.3, 0.5, loss="quantile"))


def test_explain_finds_a_wrong_gradient(monkeypatch):
    wrong = dict(ACTIVATIONS)
    tanh = ACTIVATIONS["tanh"]
    wrong["tanh"] = type(tanh)(tanh.value, lambda p: 1.001 * tanh.derivative(p), *("",) * 4)
    monkeypatch.setattr("chainrule.derivation.ACTIVATIONS", wrong)
    explanation = chainrule.explain(chainrule.Network([2, 3, 1], activation="tanh", dtype="float64"), [1, 2], 0.3)
    assert explanation.error > 5e-4


def test_explain_large_network_checks_a_part(rng):
    net = chainrule.Network([200, 100, 10], seed=0)
    explanation = chainrule.explain(net, rng.random(200).astype("f"), 3)
    step = next(s for s in explanation.steps if s.symbol == "∂ε/∂V")
    assert np.isfinite(step.difference).sum() == 10_000
    assert "10000 of 20000 entries" in explanation.text()
    assert explanation.error < 1e-6


def test_explain_latex_is_balanced():
    net = chainrule.Network([9, 8, 2], seed=0)
    tex = chainrule.explain(net, np.arange(9) / 9, [0.1, 0.9]).latex()
    assert tex.startswith("\\begin{aligned}")
    assert tex.count("{") == tex.count("}")
    assert tex.count("\\begin") == tex.count("\\end")
    assert "\\vdots" in tex
    assert "\\cdots" in tex


# ---- numbers of equations ----------------------------------------------------------------------------------------------


def equations() -> list[int]:
    return [
        int(n) for n in re.findall(r"\\tag\{(\d+)\}", (ROOT / "docs" / "derivation.md").read_text(encoding="utf-8"))
    ]


def test_equations_are_numbered_in_order():
    numbers = equations()
    assert numbers == list(range(1, len(numbers) + 1))


CORE = sorted(path.name for path in (ROOT / "core").glob("*.?pp"))
CITED = [
    *(f"src/chainrule/{name}.py" for name in ("reference", "functions", "optimizers", "schedules")),
    *(f"core/{name}" for name in ("functions.hpp", "kernels.hpp", "steps.hpp")),
]


@pytest.mark.parametrize("path", CITED)
def test_cited_equations_exist(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    comments = "\n".join(re.findall(r"(?:#|//|\"\"\").*", text))
    cited = {
        int(n) for group in re.findall(r"\((\d+(?:(?:, |\.\.)\d+)*)\)", comments) for n in re.findall(r"\d+", group)
    }
    assert len(cited) > 3
    assert cited <= set(equations())


def test_backpropagation_is_cited_line_by_line():
    source = (ROOT / "src/chainrule/reference.py").read_text(encoding="utf-8")
    for number, line in {31: "W.T + b", 32: "activate(", 33: "output_delta(", 34: "dP.sum", 35: "dP.T @ Y", 36: "dP @ W",
                         37: ".derivative(", 65: "clip_norm(", 62: "weight_decay", 66: "limit_rows(", 82: "W @ T",
                         83: "R @ W", 85: "Y[at]"}.items():  # fmt: skip
        assert any(line in row and f"({number})" in row for row in source.splitlines()), (number, line)
    kernels = "".join((ROOT / "core" / name).read_text(encoding="utf-8") for name in CORE)
    for number in (
        31,
        33,
        34,
        35,
        36,
        37,
        41,
        42,
        43,
        44,
        45,
        46,
        47,
        48,
        49,
        50,
        51,
        52,
        54,
        55,
        56,
        57,
        58,
        *range(62, 69),
        *range(73, 86),
    ):
        ranges = [range(int(a), int(b or a) + 1) for a, b in re.findall(r"[( ](\d+)(?:\.\.(\d+))?(?=[,)])", kernels)]
        assert any(number in r for r in ranges), number


def test_reference_shapes(rng):
    P, Y = reference.forward(
        rng.normal(size=(5 * 4 + 4 * 2 + 4 - 2,)), (4, 4, 2), ("tanh", "identity"), rng.random((7, 4))
    )
    assert [a.shape for a in P] == [(7, 4), (7, 2)]
    assert [a.shape for a in Y] == [(7, 4), (7, 4), (7, 2)]

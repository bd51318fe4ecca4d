"""The derivation as it stands on paper, against the package: two layers written out, one dimension, gradient descent."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import chainrule
from chainrule import reference
from chainrule.functions import ACTIVATIONS, LOSSES

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


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sizes", [[3, 4, 2], [3, 5, 4, 2], [3, 2]], ids=str)
def test_explain_agrees_with_the_engine(sizes, loss, rng):
    output = LOSSES[loss].output or "softmax"
    net = chainrule.Network(sizes, activation="tanh", output=output, seed=2, dtype="float64")
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


CITED = [
    "src/chainrule/reference.py",
    "src/chainrule/functions.py",
    "src/chainrule/optimizers.py",
    "core/kernels.cpp",
    "core/functions.hpp",
]


@pytest.mark.parametrize("path", CITED)
def test_cited_equations_exist(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    comments = "\n".join(re.findall(r"(?:#|//|\"\"\").*", text))
    cited = {
        int(n) for group in re.findall(r"\((\d+(?:(?:, |\.\.)\d+)*)\)", comments) for n in re.findall(r"\d+", group)
    }
    assert len(cited) > 5
    assert cited <= set(equations())


def test_backpropagation_is_cited_line_by_line():
    source = (ROOT / "src/chainrule/reference.py").read_text(encoding="utf-8")
    for number, line in {31: "W.T + b", 32: "activate(", 33: "output_delta(", 34: "dP.sum", 35: "dP.T @ Y", 36: "dP @ W",
                         37: ".derivative("}.items():  # fmt: skip
        assert any(line in row and f"({number})" in row for row in source.splitlines()), (number, line)
    kernels = "".join((ROOT / "core" / name).read_text(encoding="utf-8") for name in ("kernels.cpp", "functions.hpp"))
    for number in (31, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 54, 55, 56, 57, 58):
        ranges = [range(int(a), int(b or a) + 1) for a, b in re.findall(r"[( ](\d+)(?:\.\.(\d+))?(?=[,)])", kernels)]
        assert any(number in r for r in ranges), number


def test_reference_shapes(rng):
    P, Y = reference.forward(
        rng.normal(size=(5 * 4 + 4 * 2 + 4 - 2,)), (4, 4, 2), ("tanh", "identity"), rng.random((7, 4))
    )
    assert [a.shape for a in P] == [(7, 4), (7, 2)]
    assert [a.shape for a in Y] == [(7, 4), (7, 4), (7, 2)]

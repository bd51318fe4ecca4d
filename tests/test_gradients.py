"""Both engines' gradients against central differences in float64: every activation, loss, width of output and depth."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.functions import ACTIVATIONS, LOSSES, OUTPUTS

DEPTHS = {1: [], 2: [5], 4: [5, 4, 3]}
ROWS = 6


def example(activation, output, loss, outputs, depth, engine, seed=0):
    rng = np.random.default_rng(seed)
    sizes = [3, *DEPTHS[depth], outputs]
    net = chainrule.Network(sizes, activation=activation, output=output, seed=7, dtype="float64", engine=engine)
    net.parameters += rng.uniform(-0.3, 0.3, len(net.parameters))
    net.layers[-1].bias[:] += 0.5  # so that a relu output is not dead
    X = rng.normal(size=(ROWS, 3))
    L = rng.random((ROWS, outputs))
    if loss == "cross_entropy":
        L /= L.sum(axis=1, keepdims=True)
    return net, X, L


def central_differences(net, X, L, **settings):
    m, difference = net.parameters.copy(), np.empty(len(net.parameters))
    for i in range(len(m)):
        h = 1e-5 * max(1.0, abs(m[i]))
        values = []
        for sign in (1, -1):
            net.parameters = m
            net.parameters[i] += sign * h
            values.append(net.loss_and_gradient(X, L, **settings)[0])
        difference[i] = (values[0] - values[1]) / (2 * h)
    net.parameters = m
    return difference


def check(net, X, L, **settings):
    gradient = net.loss_and_gradient(X, L, **settings)[1]
    difference = central_differences(net, X, L, **settings)
    scale = np.abs(difference).max()
    np.testing.assert_allclose(gradient, difference, rtol=1e-7, atol=1e-7 * scale + 1e-12)
    return scale


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient(activation, loss, outputs, depth, engine):
    """The activation in the hidden layers and, where the loss leaves it open, in the output layer too."""
    output = LOSSES[loss].output or activation
    net, X, L = example(activation, output, loss, outputs, depth, engine.name)
    scale = check(net, X, L, loss=loss)
    assert scale > 1e-4 or (loss == "cross_entropy" and outputs == 1)  # of one class the softmax is always 1


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_half_squared_error_after_any_output(output, outputs, engine):
    net, X, L = example("tanh", output, "half_squared_error", outputs, 2, engine.name)
    check(net, X, L)


def test_gradient_with_penalty_and_weights(engine):
    net, X, L = example("silu", "softmax", "cross_entropy", 3, 4, engine.name)
    check(net, X, L, loss="cross_entropy", l2=0.3, sample_weight=[1, 0, 2, 3, 0.5, 1])


def test_labels_that_do_not_add_up_to_one(engine):
    net, X, L = example("tanh", "softmax", "cross_entropy", 3, 2, engine.name)
    check(net, X, 3 * L + 0.1, loss="cross_entropy")


def test_penalty_leaves_biases_alone(engine):
    net, X, L = example("tanh", "identity", "half_squared_error", 3, 2, engine.name)
    plain, decayed = (net.loss_and_gradient(X, L, l2=l2)[1] for l2 in (0.0, 0.5))
    expected = np.concatenate([np.r_[0.5 * layer.weights.ravel(), np.zeros_like(layer.bias)] for layer in net.layers])
    np.testing.assert_allclose(decayed - plain, expected, atol=1e-15)


def test_mean_over_rows(engine):
    net, X, L = example("sigmoid", "sigmoid", "half_squared_error", 3, 2, engine.name)
    each = [net.loss_and_gradient(X[i : i + 1], L[i : i + 1]) for i in range(ROWS)]
    loss, gradient = net.loss_and_gradient(X, L)
    assert loss == pytest.approx(np.mean([e for e, _ in each]), rel=1e-13)
    np.testing.assert_allclose(gradient, np.mean([g for _, g in each], axis=0), rtol=1e-10, atol=1e-16)

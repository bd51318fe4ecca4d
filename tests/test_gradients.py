"""Both engines' derivatives against central differences in float64: every activation, loss, width of output and depth."""

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
    sizes[-1] *= LOSSES[loss].per_label
    net = chainrule.Network(sizes, activation=activation, output=output, seed=7, dtype="float64", engine=engine)
    net.parameters += rng.uniform(-0.3, 0.3, len(net.parameters))
    if activation == "exp":
        net.parameters *= 0.3  # e^(e^(e^x)) is soon too steep for differences
    net.layers[-1].bias[:] += 0.5  # so that a relu output is not dead
    X = rng.normal(size=(ROWS, 3))
    L = rng.random((ROWS, outputs))
    if loss == "cross_entropy":
        L /= L.sum(axis=1, keepdims=True)
    return net, X, L


def central_differences(net, value):
    """(59) for each parameter of the network; of a value() that is a number or an array."""
    m, difference = net.parameters.copy(), []
    for i in range(len(m)):
        h = 1e-5 * max(1.0, abs(m[i]))
        values = []
        for sign in (1, -1):
            net.parameters = m
            net.parameters[i] += sign * h
            values.append(value())
        difference.append((values[0] - values[1]) / (2 * h))
    net.parameters = m
    return np.stack(difference, axis=-1)


def check(net, X, L, **settings):
    gradient = net.loss_and_gradient(X, L, **settings)[1]
    return agree(gradient, central_differences(net, lambda: net.loss_and_gradient(X, L, **settings)[0]))


def agree(derivative, difference):
    scale = np.abs(difference).max()
    np.testing.assert_allclose(derivative, difference, rtol=1e-7, atol=1e-7 * scale + 1e-12)
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
@pytest.mark.parametrize("loss", [name for name in LOSSES if LOSSES[name].by == "z"])
def test_losses_after_any_output(loss, output, outputs, engine):
    net, X, L = example("tanh", output, loss, outputs, 2, engine.name)
    check(net, X, L, loss=loss)


@pytest.mark.parametrize("quantile", [0.1, [0.05, 0.5, 0.9]], ids=str)
def test_gradient_of_quantiles(quantile, engine):
    net, X, L = example("tanh", "identity", "quantile", 3, 2, engine.name)
    check(net, X, L, loss="quantile", quantile=quantile)


@pytest.mark.parametrize("delta", [0.05, 0.4, 100.0])
def test_gradient_of_huber_on_both_sides_of_delta(delta, engine):
    net, X, L = example("tanh", "identity", "huber", 3, 2, engine.name)
    check(net, X, L, loss="huber", delta=delta)
    if delta == 100.0:
        np.testing.assert_allclose(
            net.loss_and_gradient(X, L, loss="huber", delta=delta)[1], net.loss_and_gradient(X, L)[1]
        )


@pytest.mark.parametrize(("loss", "output"), [("cross_entropy", "softmax"), ("binary_cross_entropy", "sigmoid")])
def test_gradient_with_smooth_labels(loss, output, engine):
    net, X, L = example("tanh", output, loss, 3, 2, engine.name)
    check(net, X, L, loss=loss, label_smoothing=0.2)
    by_hand = 0.8 * L + 0.2 / (3 if loss == "cross_entropy" else 2)
    smooth, plain = (
        net.loss_and_gradient(X, L, loss=loss, label_smoothing=0.2),
        net.loss_and_gradient(X, by_hand, loss=loss),
    )
    assert smooth[0] == pytest.approx(plain[0], rel=1e-13)
    np.testing.assert_allclose(smooth[1], plain[1], rtol=1e-11, atol=1e-16)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_jacobians(activation, output, depth, engine):
    net, X, _ = example(activation, output, "half_squared_error", 3, depth, engine.name)
    J, by_parameters = net.jacobian(X), net.parameter_jacobian(X)
    assert (J.shape, by_parameters.shape) == ((ROWS, 3, 3), (3 * ROWS, len(net.parameters)))
    h = 1e-5
    moved = [(net.predict(X + h * e) - net.predict(X - h * e)) / (2 * h) for e in np.eye(3)]
    agree(J, np.stack(moved, axis=2))
    agree(by_parameters, central_differences(net, lambda: net.predict(X).ravel()))


def test_gradient_is_the_jacobian_times_the_losses_slope(engine):
    net, X, L = example("tanh", "softmax", "half_squared_error", 3, 4, engine.name)
    e = (net.predict(X) - L).ravel() / ROWS
    np.testing.assert_allclose(e @ net.parameter_jacobian(X), net.loss_and_gradient(X, L)[1], rtol=1e-11, atol=1e-16)


def test_jacobians_of_one_row_of_none_and_of_images(engine):
    net = chainrule.Network([4, 3, 2], seed=1, engine=engine.name)
    grey = np.array([0, 51, 102, 255], dtype=np.uint8)
    assert net.jacobian(grey).shape == (1, 2, 4)
    assert net.jacobian(grey).dtype == net.parameter_jacobian(grey).dtype == np.float32
    np.testing.assert_allclose(net.jacobian(grey), net.jacobian(grey / 255), rtol=1e-6)
    assert net.jacobian(np.zeros((0, 4))).shape == (0, 2, 4)
    assert net.parameter_jacobian(np.zeros((0, 4))).shape == (0, len(net.parameters))


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

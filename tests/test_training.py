"""The loop over epochs: solvers, stopping, history, and what happens when it goes wrong."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest

import chainrule
from chainrule import files, generator, reference
from chainrule.data import DataError
from chainrule.schedules import SCHEDULES, Schedule

X = np.linspace(-1, 1, 64)[:, None]
L = np.sin(3 * X) * 0.5


def net(engine="native", **settings):
    return chainrule.Network(
        [1, 20, 1], **{"activation": "tanh", "output": "identity", "seed": 1, "engine": engine, **settings}
    )


@pytest.mark.parametrize(
    ("settings", "bound"),
    [
        ({"solver": "gradient_descent", "learning_rate": 0.3, "epochs": 2000}, 5e-3),
        ({"solver": "sgd", "batch_size": 1, "learning_rate": 0.05, "epochs": 300}, 5e-3),
        ({"solver": "sgd", "batch_size": 8, "learning_rate": 0.1, "epochs": 500, "momentum": 0.9}, 1e-3),
        (
            {"solver": "sgd", "batch_size": 8, "learning_rate": 0.1, "epochs": 500, "momentum": 0.9, "nesterov": True},
            1e-3,
        ),
        ({"solver": "adam", "learning_rate": 0.01, "epochs": 500}, 1e-3),
        ({"solver": "momentum", "batch_size": 8, "learning_rate": 0.1, "epochs": 500}, 1e-3),
        ({"solver": "nesterov", "batch_size": 8, "learning_rate": 0.1, "epochs": 500, "clip": 1.0}, 1e-3),
        ({"solver": "adamw", "learning_rate": 0.03, "epochs": 500, "schedule": "onecycle"}, 1e-3),
        ({"solver": "rmsprop", "learning_rate": 0.01, "epochs": 500, "schedule": "cosine"}, 1e-3),
        ({"solver": "rprop", "epochs": 500}, 1e-3),
        ({"solver": "lbfgs", "epochs": 300, "tol": 1e-6}, 1e-4),
    ],
    ids=lambda v: f"{v['solver']}-{v.get('batch_size', '')}-{v.get('nesterov', '')}" if isinstance(v, dict) else "",
)
def test_solvers_learn(settings, bound, engine):
    if engine.name == "reference":
        settings, bound = {**settings, "epochs": min(settings["epochs"], 100)}, 0.1
    network = net(engine.name)
    history = chainrule.train(network, X, L, **settings)
    assert history.loss[-1] < bound
    assert history.loss[-1] < history.loss[0]


def test_small_last_batch_counts(engine):
    """7 rows in batches of 3: the last step is the mean over its own single row."""
    a, b = net(engine.name, dtype="float64"), net(engine.name, dtype="float64")
    chainrule.train(a, X[:7], L[:7], batch_size=3, learning_rate=0.1, epochs=1, shuffle=False)
    for first in (0, 3, 6):
        rows = slice(first, min(first + 3, 7))
        b.parameters -= 0.1 * b.loss_and_gradient(X[rows], L[rows])[1]
    np.testing.assert_allclose(a.parameters, b.parameters, rtol=1e-13)


def test_one_batch_of_all_rows_is_not_shuffled(engine):
    a, b, c = (net(engine.name) for _ in range(3))
    chainrule.train(a, X, L, batch_size=len(X), epochs=3, shuffle=False)
    chainrule.train(b, X, L, batch_size=len(X) + 5, epochs=3)
    chainrule.train(c, X, L, batch_size=len(X) - 1, epochs=3)
    np.testing.assert_array_equal(a.parameters, b.parameters)
    assert (a.parameters != c.parameters).any()


def test_weights_act_as_repetition(engine):
    rows = np.array([0, 0, 1, 2, 2, 2, 4])
    weights = np.bincount(rows, minlength=5)
    a, b = net(engine.name, dtype="float64"), net(engine.name, dtype="float64")
    settings = {"solver": "gradient_descent", "learning_rate": 0.1, "epochs": 20}
    chainrule.train(a, X[rows], L[rows], **settings)
    chainrule.train(b, X[:5], L[:5], sample_weight=weights, **settings)
    np.testing.assert_allclose(a.parameters, b.parameters, rtol=1e-12)


def test_history(engine):
    history = chainrule.train(net(engine.name), X, L, epochs=7, validation=(X, L))
    assert history.epochs == 7
    assert len(history.loss) == len(history.validation) == len(history.rate) == len(history.seconds) == 7
    assert history.ending == "finished"
    assert all(np.isfinite(history.loss))


def test_loss_of_history_is_before_each_step(engine):
    network = net(engine.name, dtype="float64")
    before = network.loss_and_gradient(X, L)[0]
    history = chainrule.train(network, X, L, solver="gradient_descent", epochs=2, learning_rate=0.01)
    assert history.loss[0] == pytest.approx(before, rel=1e-13)
    assert history.loss[1] < before


def test_penalty_is_part_of_the_loss(engine):
    network = net(engine.name, dtype="float64")
    history = chainrule.train(network, X, L, solver="gradient_descent", epochs=1, learning_rate=1e-9, l2=0.1)
    assert history.loss[0] == pytest.approx(network.loss_and_gradient(X, L, l2=0.1)[0], rel=1e-6)


@pytest.mark.parametrize("solver", ["sgd", "adam", "rmsprop", "rprop"])
def test_going_on_is_the_same_as_never_having_stopped(solver, engine):
    settings = {"solver": solver, "batch_size": 10, "learning_rate": 0.01, "momentum": 0.9, "dropout": 0.2}
    settings |= {} if solver == "rprop" else {"schedule": "step", "drop_period": 2}
    a, b = net(engine.name), net(engine.name)
    chainrule.train(a, X, L, epochs=9, **settings)
    state = None
    for epochs in (2, 3, 4):
        state = chainrule.train(b, X, L, epochs=epochs, state=state, **settings).state
    if engine.name == "native":
        np.testing.assert_array_equal(a.parameters, b.parameters)
    elif solver != "rprop":  # rounded to float32 between the calls, which may turn a sign
        np.testing.assert_allclose(a.parameters, b.parameters, atol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_epoch_by_epoch_is_the_same_as_all_at_once(schedule, native, monkeypatch):
    a, b, c = net(), net(), net()
    settings = {"epochs": 20, "schedule": schedule, "dropout": 0.2}
    first = chainrule.train(a, X, L, **settings)
    second = chainrule.train(b, X, L, callback=lambda history: None, **settings)
    monkeypatch.setattr(chainrule.training, "MOST_RATES", 30)
    third = chainrule.train(c, X, L, **settings)
    np.testing.assert_array_equal(a.parameters, b.parameters)
    assert first.loss == second.loss == third.loss
    assert first.rate == second.rate == third.rate
    assert first.hash == second.hash == third.hash


def test_seed_of_shuffling_matters(engine):
    parameters = []
    for seed in (0, 0, 1):
        network = net(engine.name)
        chainrule.train(network, X, L, epochs=1, seed=seed, batch_size=4)
        parameters.append(network.parameters)
    np.testing.assert_array_equal(parameters[0], parameters[1])
    assert (parameters[0] != parameters[2]).any()


def test_patience_keeps_the_best_epoch():
    rng = np.random.default_rng(0)
    noisy = L[::4] + rng.normal(0, 0.3, (16, 1))
    network = chainrule.Network([1, 200, 1], activation="tanh", output="identity", seed=0)
    history = chainrule.train(
        network, X[::4], noisy, solver="adam", learning_rate=0.05, epochs=2000, validation=(X, L), patience=20
    )
    assert history.ending == "converged"
    assert history.epochs < 2000
    best = int(np.argmin(history.validation))
    assert history.best_epoch == best + 1
    assert network.loss_and_gradient(X, L)[0] == pytest.approx(min(history.validation), rel=1e-6)


def test_patience_on_the_training_loss():
    history = chainrule.train(net(), X, L, epochs=10_000, learning_rate=0.1, patience=5, tol=1e-3)
    assert history.ending == "converged"
    assert history.epochs < 1000


def test_callback_ends_the_training():
    seen = []
    history = chainrule.train(net(), X, L, epochs=50, callback=lambda h: seen.append(h.loss[-1]) or h.epochs == 4)
    assert history.epochs == 4
    assert seen == history.loss


def test_schedules():
    falling = chainrule.train(net(), X, L, epochs=5, schedule="invscaling", learning_rate=0.1).rate
    np.testing.assert_allclose(falling, [0.1 / (1 + 64 * e) ** 0.5 for e in range(5)])
    adaptive = chainrule.train(
        net(), X, L, epochs=3000, schedule="adaptive", learning_rate=0.1, patience=2, tol=1e-3, batch_size=64
    )
    assert adaptive.ending == "converged"
    steps = np.unique(adaptive.rate)[::-1]
    np.testing.assert_allclose(steps, 0.1 / 5 ** np.arange(len(steps)))
    assert len(steps) > 3


def test_schedules_of_epochs():
    settings = {"schedule": "step", "learning_rate": 0.8, "drop_factor": 0.5, "drop_period": 3}
    history = chainrule.train(net(), X, L, epochs=7, **settings)
    assert history.rate == [0.8] * 3 + [0.4] * 3 + [0.2]
    later = chainrule.train(net(), X, L, epochs=3, state=history.state, **settings)
    assert later.rate == [0.2, 0.2, 0.1], "the period goes on with the state"


def test_schedules_of_steps():
    """All four steps of an epoch of 64 rows have rates of their own; the history has each epoch's first."""
    t = np.arange(20)
    falling = chainrule.train(net(), X, L, batch_size=16, epochs=5, schedule="cosine", learning_rate=0.2).rate
    np.testing.assert_allclose(falling, (0.1 * (1 + np.cos(np.pi * t / 20)))[::4], rtol=1e-14)
    rates = Schedule("onecycle", 0.2, 5, 4, 64).rates(0, 5, 0)
    up, down = 0.008 + 0.192 * 0.5 * (1 - np.cos(np.pi * t / 5)), (t - 5) / 14
    down = 8e-7 + (0.2 - 8e-7) * 0.5 * (1 + np.cos(np.pi * down))
    np.testing.assert_allclose(rates, np.where(t <= 5, up, down), rtol=1e-12)
    assert rates[5] == rates.max() == 0.2
    cycle = chainrule.train(net(), X, L, batch_size=16, epochs=5, schedule="onecycle", learning_rate=0.2).rate
    assert cycle == rates[::4].tolist()


PYTORCH = [  # OneCycleLR(max_lr=0.2, total_steps=n) of PyTorch 2.13.0, in float64
    [0.19888308709, 0.0925274205334, 8e-07],
    [0.008, 0.16234913079, 0.0566121996417, 8e-07],
    [0.008, 0.104, 0.2, 0.190096926403, 0.16234913079, 0.122252404387, 0.0777483956127, 0.03765166921, 0.00990387359731,
     8e-07],
]  # fmt: skip


@pytest.mark.parametrize("expected", PYTORCH, ids=len)
def test_one_cycle_is_that_of_pytorch(expected):
    n = len(expected)
    np.testing.assert_allclose(Schedule("onecycle", 0.2, 1, n, n).rates(0, 1, 0), expected, rtol=1e-11)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["cosine", "onecycle"])
def test_schedules_of_few_steps(name, steps):
    rates = Schedule(name, 0.5, 1, steps, steps).rates(0, 1, 0)
    assert rates.shape == (steps,)
    assert ((rates > 0) & (rates <= 0.5)).all()


# ---- dropout, smoothing, bounds, decay -----------------------------------------------------------------------------------


def test_dropout_is_of_training_alone(engine):
    network = net(engine.name)
    Z = network.predict(X)
    history = chainrule.train(network, X, L, epochs=1, learning_rate=1e-9, dropout=0.5, validation=(X, L))
    np.testing.assert_allclose(network.predict(X), Z, atol=1e-6)
    assert history.validation[0] == pytest.approx(network.loss_and_gradient(X, L)[0], rel=1e-6)
    assert history.loss[0] > 1.2 * history.validation[0]


def test_mean_of_dropout_is_what_is_predicted(engine):
    """Of a linear network, over many epochs of no learning: kept values make up for those left out."""
    network = chainrule.Network([3, 40, 1], "identity", "identity", seed=1, dtype="float64", engine=engine.name)
    rows = np.ones((1, 3))
    z = network.predict(rows)[0, 0]
    losses = chainrule.train(network, rows, [0.0], epochs=2000, learning_rate=1e-12, dropout=0.5).loss
    spread = 0.5 * np.sum(
        (network.U[0] * (network.V.sum(axis=1))) ** 2
    )  # variance of z: p/(1 − p) Σ (U y)² / 2 in the loss
    assert np.mean(losses) == pytest.approx(0.5 * z**2 + spread, rel=0.1)


def test_dropout_of_each_layer(engine):
    parameters = []
    for dropout in (0.0, [0.0, 0.0], 0.4, [0.0, 0.4], np.array([0.0, 0.4]), [0.4, 0.0]):
        network = net(engine.name)
        chainrule.train(network, X, L, epochs=1, dropout=dropout)
        parameters.append(network.parameters)
    none, no, hidden, second, third, first = parameters
    np.testing.assert_array_equal(none, no)
    np.testing.assert_array_equal(hidden, second)
    np.testing.assert_array_equal(hidden, third)
    assert (first != hidden).any()
    assert (none != hidden).any()
    chainrule.train(
        chainrule.Network([1, 1], output="identity"), X, L, epochs=1, dropout=0.5
    )  # nothing hidden: nothing dropped


def test_clip_and_max_norm_bound_the_training(engine):
    """A rate at which it diverges without them."""
    settings = {"learning_rate": 50.0, "epochs": 20, "batch_size": 8}
    with pytest.raises(FloatingPointError):
        chainrule.train(net(engine.name), X, 100 * L, **settings)
    network = net(engine.name)
    chainrule.train(network, X, 100 * L, clip=1e-3, max_norm=0.5, **settings)
    assert np.linalg.norm(network.V, axis=1).max() <= 0.5 * (1 + 1e-6)


def test_smoothing_lowers_what_the_network_is_sure_of(engine):
    rows = np.r_[-np.ones((20, 1)), np.ones((20, 1))]
    labels = np.repeat([0, 1], 20)
    sure = []
    for smoothing in (0.0, 0.2):
        network = chainrule.Network([1, 2], output="softmax", engine=engine.name)
        history = chainrule.train(network, rows, labels, loss="cross_entropy", label_smoothing=smoothing, epochs=60,
                                  batch_size=8, learning_rate=2.0, validation=(rows, labels), watch="loss")  # fmt: skip
        sure.append(network.predict(rows).max())
        plain = network.loss_and_gradient(rows, labels, loss="cross_entropy")[0]
        assert history.validation[-1] == pytest.approx(plain, rel=1e-5), "of the labels as they are"
    assert sure[0] > 0.99
    assert sure[1] == pytest.approx(0.9, abs=0.005)


def test_adamw_decays_by_default(engine):
    parameters = []
    for settings in ({"solver": "adam"}, {"solver": "adamw", "weight_decay": 0.0}, {"solver": "adamw"},
                     {"solver": "adam", "weight_decay": 0.01}):  # fmt: skip
        network = net(engine.name)
        chainrule.train(network, X, L, epochs=3, **settings)
        parameters.append(network.parameters)
    np.testing.assert_array_equal(parameters[0], parameters[1])
    np.testing.assert_array_equal(parameters[2], parameters[3])
    assert (parameters[0] != parameters[2]).any()


def test_momentum_and_nesterov_are_sgd(engine):
    parameters = []
    for settings in ({"solver": "momentum"}, {"solver": "sgd", "momentum": 0.9}, {"solver": "momentum", "momentum": 0.5},
                     {"solver": "nesterov"}, {"solver": "sgd", "momentum": 0.9, "nesterov": True}):  # fmt: skip
        network = net(engine.name)
        chainrule.train(network, X, L, epochs=3, learning_rate=0.01, **settings)
        parameters.append(network.parameters)
    np.testing.assert_array_equal(parameters[0], parameters[1])
    np.testing.assert_array_equal(parameters[3], parameters[4])
    assert (parameters[0] != parameters[2]).any()
    assert (parameters[0] != parameters[3]).any()


# ---- losses ------------------------------------------------------------------------------------------------------------


def test_robust_losses_pass_outliers_by(engine):
    wild = np.r_[L[:-4], np.full((4, 1), 50.0)]
    errors = {}
    for loss, settings in {"half_squared_error": {}, "huber": {"delta": 0.1}, "quantile": {}}.items():
        network = net(engine.name)
        chainrule.train(network, X, wild, loss=loss, solver="adam", learning_rate=0.01, epochs=150, **settings)
        errors[loss] = np.abs(network.predict(X[:32]) - L[:32]).mean()
    assert max(errors["huber"], errors["quantile"]) < 0.5 * errors["half_squared_error"]


def test_quantiles_hold_their_shares(engine):
    rng = np.random.default_rng(0)
    rows, labels = rng.random((600, 1)), rng.normal(size=(600, 1)) @ np.ones((1, 2))
    network = chainrule.Network([1, 2], output="identity", engine=engine.name)
    chainrule.train(network, rows, labels, loss="quantile", quantile=[0.1, 0.75], learning_rate=0.2, epochs=60)
    below = (labels < network.predict(rows)).mean(axis=0)
    np.testing.assert_allclose(below, [0.1, 0.75], atol=0.04)


def test_poisson_and_gaussian_learn_what_made_the_data(engine):
    rng = np.random.default_rng(0)
    rows = rng.uniform(-1, 1, (500, 1))
    counts = rng.poisson(np.exp(1 + rows))
    network = chainrule.Network([1, 1], output="exp", engine=engine.name)
    chainrule.train(network, rows, counts, loss="poisson", epochs=30, learning_rate=0.05)
    np.testing.assert_allclose(network.parameters, [1, 1], atol=0.15)
    network = chainrule.Network([1, 2], output="identity", engine=engine.name)
    chainrule.train(network, rows, 2 * rows + np.exp(0.5 * rows) * rng.normal(size=rows.shape), loss="gaussian",
                    epochs=60, learning_rate=0.1)  # fmt: skip
    np.testing.assert_allclose(network.parameters, [2, 1, 0, 0], atol=0.3)  # μ = 2 x, log σ² = x


def test_labels_of_classes_become_columns():
    network = chainrule.Network([1, 5, 3], output="softmax", seed=0, dtype="float64")
    other = copy.deepcopy(network)
    labels = np.arange(64) % 3
    chainrule.train(network, X, labels, loss="cross_entropy", epochs=2)
    chainrule.train(other, X, np.eye(3)[labels], loss="cross_entropy", epochs=2)
    np.testing.assert_array_equal(network.parameters, other.parameters)


def test_divergence_is_one_clear_error(engine):
    network = net(engine.name)
    with pytest.raises(
        FloatingPointError, match=r"training diverged.*learning_rate=1000.*try learning_rate=100"
    ) as caught:
        chainrule.train(network, X, L, learning_rate=1000.0, epochs=100)
    assert "epoch" in str(caught.value)
    assert np.isfinite(network.parameters).all()


def test_interrupt_between_epochs_keeps_what_was_learned():
    def press(history):
        raise KeyboardInterrupt

    network = net()
    before = network.parameters.copy()
    with pytest.warns(UserWarning, match="interrupted after 1 of 10 epochs; the network keeps what it learned"):
        history = chainrule.train(network, X, L, epochs=10, callback=press)
    assert history.ending == "interrupted"
    assert (network.parameters != before).any()


def test_copies_and_pickles_do_not_share_parameters():
    network = net()
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        np.testing.assert_array_equal(other.predict(X), network.predict(X))
        other.V[:] = 0
        assert (other.parameters[:20] == 0).all()
        assert (network.parameters[:20] != 0).all()


def test_initial_values_have_the_stated_bounds_and_bits():
    network = chainrule.Network([100, 50, 10], activation="relu", output="softmax", seed=3)
    assert np.abs(network.V).max() <= np.sqrt(6 / 100)
    assert np.abs(network.V).max() > 0.98 * np.sqrt(6 / 100)
    assert np.abs(network.U).max() <= np.sqrt(6 / 60)
    assert (network.v == 0).all()
    np.testing.assert_array_equal(
        chainrule.Network([100, 50, 10], "relu", "softmax", seed=3).parameters, network.parameters
    )
    assert (chainrule.Network([100, 50, 10], "relu", "softmax", seed=4).V != network.V).all()


def test_different_activation_in_each_layer(engine):
    network = chainrule.Network([2, 3, 4, 1], ["tanh", "relu"], "identity", engine=engine.name)
    assert network.activations == ("tanh", "relu", "identity")
    chainrule.train(network, [[0, 1], [1, 0]], [0.0, 1.0], epochs=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "half_squared_eror"}, "Did you mean 'half_squared_error'"),
        ({"loss": "cross_entropy"}, "goes with output='softmax'"),
        ({"loss": "binary_cross_entropy"}, "goes with output='sigmoid'"),
        ({"solver": "adm"}, "solver must be one of .*Did you mean 'adam'"),
        ({"batch_size": 0}, "batch_size must be a whole number of 1"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"epochs": -1}, "epochs must be"),
        ({"learning_rate": 0}, "learning_rate must be a positive number; got 0"),
        ({"learning_rate": np.nan}, "learning_rate must be a positive number"),
        ({"learning_rate": "fast"}, "learning_rate must be a positive number; got 'fast'"),
        ({"momentum": 1.0}, "momentum must be a finite number, 0 or more, below 1"),
        ({"l2": -1}, "l2 must be a finite number, 0 or more"),
        ({"schedule": "cosin"}, "schedule must be one of"),
        ({"n_threads": 0}, "n_threads must be"),
        ({"seed": -1}, "seed must be"),
        ({"sample_weight": [1, 2]}, r"sample_weight must have shape \(64,\)"),
        ({"sample_weight": -np.ones(64)}, "sample_weight must be 0 or more; found -1.0 at row 0"),
        ({"sample_weight": np.zeros(64)}, "at least one non-zero"),
        ({"watch": "validation"}, "needs a validation set"),
        ({"loss": "poisson"}, "loss='poisson' goes with output='exp'"),
        ({"loss": "gaussian"}, "takes 2 outputs for each label, .*; this network has 1: give it 2"),
        ({"delta": 0}, "delta must be a finite number, above 0; got 0"),
        ({"quantile": 1.0}, "quantile must be a finite number, above 0, below 1; got 1.0"),
        ({"quantile": [0.1, 0.9]}, "quantile must be one number, or one for each of the 1 outputs; got 2"),
        ({"quantile": "half"}, "quantile must be"),
        (
            {"label_smoothing": 0.1},
            "label_smoothing goes with binary_cross_entropy and cross_entropy; leave it at 0 for",
        ),
        ({"label_smoothing": 1}, "label_smoothing must be a finite number, 0 or more, below 1"),
        ({"weight_decay": -1}, "weight_decay must be a finite number, 0 or more; got -1"),
        ({"clip": 0}, "clip must be a finite number, above 0; got 0"),
        ({"max_norm": "x"}, "max_norm must be a finite number, above 0"),
        ({"dropout": 1.0}, "dropout must be a finite number, 0 or more, below 1; got 1.0"),
        ({"dropout": [0.5]}, "dropout must be one number, .* each of the 2 layers, the input first; got 1"),
        ({"dropout": [0.5, -0.1]}, "dropout must be a finite number, 0 or more, below 1; got -0.1"),
        ({"dropout": None}, "dropout must be"),
        ({"adversarial": -0.1}, "adversarial must be a finite number, 0 or more; got -0.1"),
        ({"solver": "lbfgs", "adversarial": 0.1}, "adversarial is of the solvers that step .*: leave adversarial out"),
        ({"drop_factor": 0}, "drop_factor must be a finite number, above 0, 1 or less"),
        ({"drop_period": 0}, "drop_period must be a whole number of 1"),
        ({"beta2": 1.0}, "beta2 must be"),
        ({"solver": "lbfgs", "dropout": 0.1}, "dropout is of the solvers that step .*: leave dropout out, or choose"),
        ({"solver": "lbfgs", "clip": 1.0}, "clip is of the solvers that step batch by batch"),
        ({"solver": "lbfgs", "max_norm": 1.0}, "max_norm is of the solvers"),
        (
            {"solver": "lbfgs", "weight_decay": 0.1},
            "weight_decay is of the solvers .*: leave weight_decay out, use a penalty",
        ),
        ({"solver": "lbfgs", "schedule": "cosine"}, "use schedule='constant', or another solver, as 'adam'"),
        (
            {"solver": "rprop", "schedule": "step"},
            "schedule='step' has nothing to change: solver='rprop' finds the lengths",
        ),
    ],
    ids=str,
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        chainrule.train(net(), X, L, **settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([3],), "sizes must name at least"),
        (([3, 0],), r"sizes\[1\] must be a whole number of 1"),
        (([3, 2.5],), r"sizes\[1\] must be a whole number"),
        ((3,), "sizes must be a list"),
        (([1, 1], "sigmod"), "activation must be one of .*Did you mean 'sigmoid'"),
        (([1, 1], "tanh", "softmaks"), "output must be one of .*Did you mean 'softmax'"),
        (([1, 1], "softmax"), "activation must be one of"),
        (([1, 2, 1], ["tanh", "tanh"]), "one for each of the 1 hidden layers; got 2"),
        (([1, 1], "tanh", "tanh", 0, "float16"), "dtype must be one of float32, float64"),
    ],
    ids=str,
)
def test_bad_networks(arguments, message):
    with pytest.raises(ValueError, match=message):
        chainrule.Network(*arguments)


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([[1.0], [np.nan]], [0, 1], "X must hold finite numbers; found NaN at row 1, column 0"),
        ([[1.0], [np.inf]], [0, 1], "X must hold finite numbers; found inf at row 1, column 0"),
        ([[1.0], [2.0]], [0, np.nan], "L must hold finite numbers; found NaN at row 1"),
        ([["a"], [2.0]], [0, 1], "X must hold numbers; found 'a' at row 0, column 0"),
        ([[1.0, 2.0]], [0], r"X must have shape \(n, 1\), as the network has 1 input; got \(1, 2\)"),
        ([[1.0], [2.0]], [0, 1, 2], "L must have one row for each of the 2 rows"),
        ([[1.0], [2.0]], [[0, 1], [1, 0]], r"L must have shape \(2, 1\)"),
        (np.zeros((0, 1)), np.zeros((0, 1)), "X has no rows"),
        ([[1 + 1j]], [0], "real numbers"),
    ],
    ids=str,
)
def test_bad_data(rows, labels, message, engine):
    with pytest.raises(DataError, match=message):
        chainrule.train(net(engine.name), np.array(rows, dtype=object) if "a" in str(rows) else rows, labels)


def test_state_of_another_solver():
    state = chainrule.train(net(), X, L, epochs=1).state
    with pytest.raises(ValueError, match="state is that of another solver or network"):
        chainrule.train(net(), X, L, solver="adam", state=state)


def test_state_of_adam_is_none_of_rprop():
    """Arrays of the same shapes, of another meaning."""
    with pytest.raises(ValueError, match="state is that of another solver or network"):
        chainrule.train(net(), X, L, solver="rprop", state=chainrule.train(net(), X, L, solver="adam", epochs=1).state)


def test_labels_that_a_loss_has_no_meaning_for():
    network = chainrule.Network([1, 1], output="exp")
    with pytest.raises(DataError, match=r"L must hold counts or rates, 0 or more, for loss='poisson'; found -0\.57"):
        chainrule.train(network, X, L - 0.5, loss="poisson")
    with pytest.raises(
        DataError, match="validation: L must hold counts or rates, 0 or more, for loss='poisson'; found -1 "
    ):
        chainrule.train(network, X, L + 1, loss="poisson", validation=(X, 0 * L - 1))
    with pytest.raises(
        DataError, match=r"shape \(64, 2\), as the network has 4 outputs, 2 for each label; got \(64, 4\)"
    ):
        chainrule.train(chainrule.Network([1, 4], output="identity"), X, np.ones((64, 4)), loss="gaussian")


def test_bad_classes():
    network = chainrule.Network([1, 3], output="softmax")
    with pytest.raises(DataError, match=r"L must hold classes 0\.\.2; found 3 at row 1"):
        chainrule.train(network, [[1.0], [2.0]], [0, 3])


def test_the_seed_on_real_digits(mnist):
    """784-30-10, sigmoids, half the squared error, rate 3, batches of 10: the well-known 95 %."""
    examples = files.read(mnist)
    network = chainrule.Network([784, 30, 10], activation="sigmoid", output="sigmoid", seed=0)
    history = chainrule.train(network, examples.X, examples.y, batch_size=10, learning_rate=3.0, epochs=30)
    right = (network.predict(examples.test.X).argmax(axis=1) == examples.test.y).mean()
    assert right >= 0.95
    print(f"{100 * right:.2f} %, {min(history.seconds):.3f} s an epoch")


@pytest.mark.slow
def test_the_larger_seed_on_real_digits(mnist):
    examples = files.read(mnist)
    network = chainrule.Network([784, 100, 10], seed=0)
    chainrule.train(network, examples.X, examples.y, batch_size=10, learning_rate=3.0, epochs=30)
    assert (network.predict(examples.test.X).argmax(axis=1) == examples.test.y).mean() >= 0.965


def test_validation_alone_keeps_the_best_epoch():
    rng = np.random.default_rng(1)
    few, check = (rng.random((12, 3)), rng.random((12, 2))), (rng.random((60, 3)), rng.random((60, 2)))
    network = chainrule.Network([3, 40, 2], output="identity", seed=0)
    history = chainrule.train(
        network, *few, validation=check, solver="adam", learning_rate=0.05, batch_size=4, epochs=200
    )
    assert history.epochs == 200
    assert history.best_epoch == int(np.argmin(history.validation)) + 1 < 150
    value, _ = network.loss_and_gradient(*check)
    assert value == pytest.approx(min(history.validation), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 0}, "epsilon must be a finite number, above 0; got 0"),
        ({"epsilon": np.nan}, "epsilon must be"),
        ({"power_t": np.nan}, "power_t must be"),
        ({"tol": np.nan}, "tol must be"),
        ({"tol": "x"}, "tol must be"),
        ({"patience": -5}, "patience must be a whole number of 1"),
        ({"patience": "x"}, "patience must be a whole number"),
        ({"shuffle": None}, "shuffle must be True or False"),
        ({"nesterov": 1}, "nesterov must be True or False"),
        ({"momentum": "x"}, "momentum must be a finite number"),
        ({"validation": X}, r"validation must be a pair \(X, L\), or \(X, L, weights\); got ndarray"),
        ({"validation": (X[:0], L[:0])}, "validation: X has no rows"),
        ({"validation": (X, L[:5])}, "validation: L must have one row"),
        ({"solver": "lbfgs", "max_fun": 0}, "max_fun must be"),
    ],
    ids=str,
)
def test_more_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        chainrule.train(net(), X, L, **settings)


def test_things_of_a_wrong_kind():
    with pytest.raises(TypeError, match="network must be a Network; got str"):
        chainrule.train("net", X, L)
    with pytest.raises(TypeError, match="state must be the `state` of an earlier call's history; got int"):
        chainrule.train(net(), X, L, state=3)
    with pytest.raises(ValueError, match="state is that of another solver or network"):
        chainrule.train(net(), X, L, solver="adam", state=chainrule.train(net(), X, L).state)
    with pytest.raises(ValueError, match="output='softmax' of one output is always 1"):
        chainrule.train(chainrule.Network([3, 1], output="softmax"), X, np.ones(len(X)), loss="cross_entropy")
    with pytest.raises(ValueError, match="l2 must be a finite number"):
        net().loss_and_gradient(X, L, l2=np.nan)
    with pytest.raises(ValueError, match="X has no rows"):
        net().loss_and_gradient(X[:0], L[:0])
    bad = chainrule.Network([3, 2], output="sigmoid")
    with pytest.raises(ValueError, match="L must hold probabilities for loss='binary_cross_entropy'; found 2 at row 0"):
        bad.loss_and_gradient(np.zeros((1, 3)), [[2.0, 0.0]], loss="binary_cross_entropy")
    with pytest.raises(ValueError, match="dtype must be one of float32, float64; got 'None'"):
        chainrule.Network([1, 1], dtype=None)


def test_network_too_large_for_the_machine():
    with pytest.raises(ValueError, match=r"sizes 3-2000000000-1 ask for .* GB of parameters"):
        chainrule.Network([3, 2_000_000_000, 1])


def test_lbfgs_stops_and_waits_as_asked():
    assert chainrule.train(net(), X, L, solver="lbfgs", epochs=0).epochs == 0
    stopped = chainrule.train(net(), X, L, solver="lbfgs", epochs=20, callback=lambda h: h.epochs == 3)
    assert (stopped.epochs, stopped.ending) == (3, "stopped")
    assert chainrule.train(net(), X, L, epochs=20, callback=lambda h: h.epochs == 3).ending == "stopped"
    rng = np.random.default_rng(0)
    noise = (rng.random(X.shape), rng.random(L.shape))
    history = chainrule.train(net(), X, L, solver="lbfgs", epochs=500, tol=0, validation=noise, patience=3)
    assert history.epochs < 500
    assert history.best_epoch == int(np.argmin(history.validation)) + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((lambda m: m, np.nan, 0.1, 3), "start must hold finite numbers"),
        ((lambda m: m, 1.0, np.nan, 3), "rate must be a finite number"),
        ((lambda m: m, 1.0, "x", 3), "rate must be a finite number"),
        ((lambda m: m, 1.0, 0.1, 1.5), "steps must be a whole number"),
        ((lambda m: m, 1.0, 0.1, -1), "steps must be a whole number of 0"),
    ],
)
def test_gradient_descent_checks_its_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        chainrule.gradient_descent(*arguments)


def test_gradient_descent_on_a_derivative_that_is_none():
    for nothing in (None, np.nan):
        with pytest.raises(FloatingPointError, match="the derivative is NaN in step 1, at m = 1"):
            chainrule.gradient_descent(lambda m, nothing=nothing: nothing, 1.0, 0.1, 2)


def test_looks_every_few_epochs_and_weighs_the_validation_set(engine):
    X = np.linspace(-1, 1, 20)[:, None]
    weight = np.r_[np.ones(5), np.zeros(15)]
    seen, ends = [], []
    for validation in ((X, X, weight), (X[:5], X[:5])):
        net = chainrule.Network([1, 3, 1], "tanh", "identity", seed=1, dtype="float64", engine=engine.name)
        history = chainrule.train(
            net, X, X, epochs=10, every=4, validation=validation, callback=lambda h: seen.append(h.epochs)
        )
        assert (history.epochs, len(history.validation)) == (10, 3)
        ends.append(history.validation)
    assert seen == [4, 8, 10] * 2
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-12)


# ---- least squares by second order -------------------------------------------------------------------------------------


def noisy_sine(n=200, seed=0):
    """y = sin 3 x0, with noise of deviation 0.1; x1 says nothing."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    return X, np.sin(3 * X[:, 0]) + 0.1 * rng.standard_normal(n)


def bayesian(X, y, hidden=8, seed=1, **settings):
    net = chainrule.Network([X.shape[1], hidden, y.ndim if y.ndim == 1 else y.shape[1]], "tanh", "identity", seed=seed,
                            dtype="float64", engine=settings.pop("engine", None))  # fmt: skip
    return net, chainrule.train(net, X, y, solver="bayesian", epochs=settings.pop("epochs", 200), **settings)


def test_penalties_stay_while_the_bayesian_solver_is_deaf(rng):
    X = rng.normal(size=(30, 2))
    L = np.sin(X[:, :1])
    for deaf in (0, 3, 8):
        heard = []
        network = chainrule.Network([2, 3, 1], "tanh", "identity", dtype="float64")
        chainrule.train(
            network, X, L, solver="bayesian", epochs=12, deaf=deaf,
            callback=lambda history, heard=heard: heard.append(history.evidence is not None),
        )  # fmt: skip
        assert heard == [False] * deaf + [True] * (12 - deaf)
    with pytest.raises(ValueError, match="deaf must be a whole number of 0 or more; got -1"):
        chainrule.train(
            chainrule.Network([2, 3, 1], output="identity", dtype="float64"), X, L, solver="bayesian", epochs=1, deaf=-1
        )


def test_the_evidence_finds_the_noise_and_what_is_irrelevant(engine):
    X, y = noisy_sine()
    net, history = bayesian(X, y, engine=engine.name)
    evidence = history.evidence
    assert history.ending == "converged"
    assert abs(evidence.noise[0] - 0.1) < 0.01
    assert 3 < evidence.effective < 8  # a sine's few, not the network's 33 parameters
    assert evidence.precision[1] > 1e3 * evidence.precision[0]
    new, clean = noisy_sine(seed=1)[0], np.sin(3 * noisy_sine(seed=1)[0][:, 0])
    assert np.sqrt(np.mean((net.predict(new)[:, 0] - clean) ** 2)) < 0.025


def test_engines_take_the_same_steps():
    X, y = noisy_sine(60)
    for solver in ("bayesian", "levenberg_marquardt"):
        ends = []
        for name in ("native", "reference"):
            net = chainrule.Network([2, 4, 1], "tanh", "identity", seed=2, dtype="float64", engine=name)
            history = chainrule.train(net, X, y, solver=solver, epochs=15, sample_weight=np.arange(1.0, 61.0))
            ends.append((history, net.parameters))
        np.testing.assert_allclose(ends[0][0].loss, ends[1][0].loss, rtol=1e-9)
        np.testing.assert_allclose(ends[0][1], ends[1][1], rtol=1e-6, atol=1e-8)


def test_second_order_steps_give_equal_bits(native):
    X = (4 * generator.uniform(0, 0, 600) - 2).reshape(200, 3)
    L = np.c_[X[:, 0] * X[:, 1], np.abs(X[:, 2])]
    for threads in (1, 2, 3):
        net = chainrule.Network([3, 6, 5, 2], "tanh", "identity", seed=3)
        history = chainrule.train(net, X, L, solver="bayesian", epochs=20, n_threads=threads)
        assert history.hash == "2fa0d3622cf071cd"


def test_the_curve_of_a_step_is_that_of_the_outputs():
    """(102) Against ½ JᵀB ∂²z/∂t² by the Jacobian and a fine difference; 0 of a network that is linear in m."""
    rng = np.random.default_rng(4)
    X, L, weight, beta = rng.normal(size=(40, 3)), rng.normal(size=(40, 2)), rng.random(40), np.array([0.5, 3.0])
    L[::7, 1] = np.nan
    for activation, hidden in (("tanh", [5]), ("identity", [])):
        net = chainrule.Network([3, *hidden, 2], activation, "identity", seed=1, dtype="float64", engine="reference")
        m, step = net.parameters.copy(), 0.05 * rng.normal(size=len(net.parameters))

        def answers(t, net=net, m=m, step=step):
            net.parameters = m + t * step
            return net.predict(X)

        turned = (answers(-0.01) - 2 * answers(0) + answers(0.01)) / 1e-4
        J = reference.parameter_jacobian(m, net.sizes, net.activations, X, 1).reshape(40, 2, -1)
        factors = weight[:, None] * beta * ~np.isnan(L)
        exact = 0.5 * np.einsum("nkp,nk->p", J, factors * turned)
        found = reference._curvature(m, step, net.sizes, net.activations, X, L, weight, answers(0), beta)
        np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-4)
        assert hidden or np.abs(found).max() < 1e-9


def test_steps_along_a_curve_lead_further(monkeypatch):
    """(103) A close fit takes far fewer of them; straight ones are what is left where the curve counts for nothing."""
    X = np.random.default_rng(0).uniform(-1, 1, (200, 3))
    y = np.sin(3 * X[:, 0] * X[:, 1]) + np.exp(X[:, 2])

    def error(seed):
        net = chainrule.Network([3, 8, 8, 1], "tanh", "identity", seed=seed, dtype="float64", engine="reference")
        return chainrule.train(net, X, y, solver="levenberg_marquardt", epochs=60).loss[-1]

    curved = [error(seed) for seed in range(3)]
    monkeypatch.setattr(reference, "BENT", 0.0)
    straight = [error(seed) for seed in range(3)]
    assert np.median(curved) < 0.3 * np.median(straight)


def test_the_evidence_prefers_the_right_width():
    """Too few units are told from enough; many more are no gain."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (300, 1))
    y = np.sin(5 * X[:, 0]) + 0.05 * rng.standard_normal(300)

    def log_evidence(hidden, seed):
        net = chainrule.Network([1, hidden, 1], "tanh", "identity", seed=seed, dtype="float64")
        net.v = 2 * generator.uniform(seed, 9, hidden) - 1  # so that the units bend at different places
        return chainrule.train(net, X, y, solver="bayesian", epochs=200).evidence.log

    log = {hidden: max(log_evidence(hidden, seed) for seed in range(4)) for hidden in (1, 3, 8, 40)}
    assert log[1] + 100 < log[3]
    assert max(log[8], log[40]) < log[3] + 10


def test_levenberg_and_marquardt_fit_exactly(engine):
    """What a network of the same kind made is found again, in a few steps."""
    X = np.random.default_rng(0).uniform(-2, 2, (60, 2))
    teacher = chainrule.Network([2, 2, 1], "tanh", "identity", seed=5, dtype="float64")
    net = chainrule.Network([2, 3, 1], "tanh", "identity", seed=1, dtype="float64", engine=engine.name)
    history = chainrule.train(net, X, teacher.predict(X), solver="levenberg_marquardt", epochs=100)
    assert history.loss[-1] < 1e-12
    assert history.evidence is None


def test_levenberg_and_marquardt_lower_the_penalised_loss():
    X, y = noisy_sine(50)
    net = chainrule.Network([2, 3, 1], "tanh", "identity", seed=1, dtype="float64")
    history = chainrule.train(net, X, y, solver="levenberg_marquardt", epochs=300, l2=0.01)
    assert history.loss == sorted(history.loss, reverse=True)
    loss, gradient = net.loss_and_gradient(X, y, l2=0.01)
    assert loss == pytest.approx(history.loss[-1], rel=1e-12)
    assert np.abs(gradient).max() < 1e-4


def test_least_squares_stops_waits_and_goes_on_as_asked():
    X, y = noisy_sine(60)
    assert bayesian(X, y, epochs=0)[1].epochs == 0
    assert bayesian(X, y, callback=lambda h: h.epochs == 3)[1].ending == "stopped"
    noise = np.random.default_rng(0).normal(size=(20, 2)), np.random.default_rng(1).normal(size=20)
    history = bayesian(X, y, validation=noise, patience=3, tol=0)[1]
    assert len(history.validation) == history.epochs
    assert history.best_epoch == 1 + int(np.argmin(history.validation))
    single = chainrule.Network([2, 3, 1], "tanh", "identity")
    assert chainrule.train(single, X, y, solver="bayesian").hash  # in float32 the steps are of float64, too


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "huber"}, "solver='bayesian' is of least squares: it goes with loss='half_squared_error'; got 'huber'"),
        ({"l2": 0.1}, "solver='bayesian' finds its penalties itself: leave l2"),
        ({"dropout": 0.1}, "dropout is of the solvers that step batch by batch; solver='bayesian' finds"),
        ({"schedule": "cosine"}, "use schedule='constant'"),
    ],
)  # fmt: skip
def test_what_least_squares_has_no_place_for(settings, message):
    X, y = noisy_sine(20)
    with pytest.raises(ValueError, match=re.escape(message)):
        bayesian(X, y, **settings)


# ---- labels that are missing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "output"),
    [
        ("half_squared_error", "identity"),
        ("half_squared_error", "sigmoid"),
        ("huber", "tanh"),
        ("quantile", "identity"),
        ("binary_cross_entropy", "sigmoid"),
        ("poisson", "exp"),
        ("gaussian", "identity"),
    ],
)
def test_missing_labels_count_nothing(loss, output, engine, rng):
    """The loss is the sum of those of networks that each have the rows and the output of the labels that are there."""
    n, k = 37, 3
    outputs = 2 * k if loss == "gaussian" else k
    net = chainrule.Network([4, 5, outputs], "tanh", output, seed=1, dtype="float64", engine=engine.name)
    X, L = rng.normal(size=(n, 4)), rng.random((n, k))
    L[rng.random((n, k)) < 0.3] = np.nan
    L[0] = np.nan
    value, gradient = net.loss_and_gradient(X, L, loss=loss)
    expected, slope = 0.0, np.zeros_like(gradient)
    for j in range(k):
        rows = ~np.isnan(L[:, j])
        own = np.arange(outputs // k) * k + j
        alone = chainrule.Network([4, 5, len(own)], "tanh", output, dtype="float64", engine=engine.name)
        for (to, whole), at in zip(zip(alone.layers, net.layers, strict=True), (np.arange(5), own), strict=True):
            to.weights[:], to.bias[:] = whole.weights[at], whole.bias[at]
        e, g = alone.loss_and_gradient(X[rows], L[rows, j : j + 1], loss=loss)
        expected += e * rows.sum() / n
        alone.parameters[:] = g * rows.sum() / n
        net_like = chainrule.Network([4, 5, outputs], "tanh", output, dtype="float64")
        net_like.parameters[:] = 0
        for (of, to), at in zip(zip(alone.layers, net_like.layers, strict=True), (np.arange(5), own), strict=True):
            to.weights[at], to.bias[at] = of.weights, of.bias
        slope += net_like.parameters
    assert value == pytest.approx(expected)
    np.testing.assert_allclose(gradient, slope, atol=1e-12)
    history = chainrule.train(net, X, L, loss=loss, epochs=2, validation=(X, L), learning_rate=0.01)
    assert np.isfinite(history.validation).all()


@pytest.mark.parametrize("solver", ["levenberg_marquardt", "bayesian", "lbfgs"])
def test_second_order_solvers_pass_missing_labels_by(solver, engine, rng):
    X = rng.uniform(-1, 1, (80, 2))
    L = np.stack([np.sin(2 * X[:, 0]), X[:, 0] * X[:, 1]], axis=1)
    there = rng.random(L.shape) > 0.4
    net = chainrule.Network([2, 6, 2], "tanh", "identity", seed=1, dtype="float64", engine=engine.name)
    history = chainrule.train(net, X, np.where(there, L, np.nan), solver=solver, epochs=60)
    assert np.abs(net.predict(X) - L)[~there].mean() < 0.05
    assert np.isfinite(history.loss).all()


def test_labels_that_may_not_be_missing(engine, rng):
    X = rng.random((5, 2))
    for outputs, loss, message in (
        (1, "half_squared_error", "L must hold finite numbers; found NaN at row 3"),
        (2, "cross_entropy", "L must hold labels; found NaN at row 3, column 0: each row of classes needs all of them"),
    ):
        net = chainrule.Network([2, outputs], output="softmax" if outputs > 1 else "identity", engine=engine.name)
        L = np.full((5, outputs), 0.5)
        L[3, 0] = np.nan
        with pytest.raises(ValueError, match=message):
            chainrule.train(net, X, L, loss=loss)


# ---- embeddings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["identity", "silu"])
def test_columns_see_no_other(activation, engine, rng):
    """(99) A unit's value moves with its own column alone, from the first step to the last, and in a later call."""
    columns = [0, 0, 1, 1, 1, 2]
    X = rng.normal(size=(150, 6))
    L = (np.sin(X[:, 0] + X[:, 1]) * X[:, 3] + X[:, 5] ** 2)[:, None]
    net = chainrule.Network([6, 12, 9, 1], [activation, "tanh"], "identity", seed=1, engine=engine.name)
    chainrule.train(net, X, L, epochs=0, embedding=columns)
    within = np.repeat([0, 1, 2], 4)[:, None] == np.array(columns)
    start = net.layers[0].weights.copy()
    np.testing.assert_array_equal(start[::4], [[1, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]])
    fans = [6 / (2 + 4), 6 / (3 + 4), 6 / (1 + 4)] if activation == "identity" else [6 / 2, 6 / 3, 6 / 1]
    for c in range(3):  # (60), (61) of a layer that has one column alone
        own = np.abs(start[4 * c + 1 : 4 * c + 4][:, np.array(columns) == c])
        assert own.max() <= np.sqrt(fans[c])
        assert own.max() > 0.6 * np.sqrt(fans[c])
    history = chainrule.train(net, X, L, solver="adam", epochs=30, learning_rate=0.01, embedding=columns)
    assert history.loss[-1] < 0.5 * history.loss[0]
    assert (net.layers[0].weights[~within] == 0).all()
    assert (net.layers[0].weights[within] != start[within]).all()
    before = net.parameters.copy()
    chainrule.train(net, X, L, epochs=0, embedding=columns)  # goes on from where it was
    np.testing.assert_array_equal(net.parameters, before)


@pytest.mark.parametrize(
    ("embedding", "sizes", "settings", "message"),
    [
        ([0, 1], [3, 4, 1], {}, "embedding must have a number for each of the 3 inputs; got 2"),
        ([1, 1, 2], [3, 4, 1], {}, r"embedding must number the columns 0, 0, \.\.\., 1, .* got \[1, 1, 2\]"),
        ([0, 2, 2], [3, 4, 1], {}, "embedding must number the columns"),
        ([0, 1, 0], [3, 4, 1], {}, "embedding must number the columns"),
        ([0, 1, -1], [3, 4, 1], {}, r"embedding\[2\] must be a whole number of 0 "),
        (
            [0, 1, 2],
            [3, 4, 1],
            {},
            "embedding has 3 columns, so the first of two or more layers must have that many units",
        ),
        ([0, 1, 2], [3, 3], {}, "embedding has 3 columns, so the first of two or more layers"),
        ([0, 0, 1], [3, 4, 1], {"solver": "lbfgs"}, "embedding is of the solvers that step batch by batch"),
    ],
)
def test_bad_embeddings(embedding, sizes, settings, message):
    net = chainrule.Network(sizes, "identity", "identity")
    with pytest.raises(ValueError, match=message):
        chainrule.train(net, np.ones((3, 3)), np.ones((3, sizes[-1])), embedding=embedding, **settings)


# ---- signs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["sgd", "adam", "rprop"])
def test_outputs_keep_to_the_signs(solver, engine, rng):
    """(98) The slopes have the signs that were asked for, everywhere; the free input's have both."""
    X = rng.uniform(-2, 2, (200, 3))
    L = (np.tanh(X[:, 0]) - X[:, 1] + np.sin(3 * X[:, 2]) + 0.3 * rng.normal(size=200))[:, None]
    net = chainrule.Network([3, 12, 7, 1], "tanh", "identity", seed=1, dtype="float64", engine=engine.name)
    how = {"epochs": 60, "learning_rate": 0.02 if solver != "sgd" else 0.1}
    history = chainrule.train(net, X, L, solver=solver, monotone=[1, -1, 0], **how)
    J = net.jacobian(rng.uniform(-4, 4, (500, 3)))[:, 0]
    assert (J[:, 0] >= 0).all()
    assert (J[:, 1] <= 0).all()
    assert J[:, 2].min() < -0.01 < 0.01 < J[:, 2].max()
    assert history.loss[-1] < 0.6 * history.loss[0]
    W = [layer.weights for layer in net.layers]
    assert (W[0][:, 0] >= 0).all()
    assert (W[1] >= 0).all()
    assert (W[2] >= 0).all()
    free = chainrule.Network([3, 12, 7, 1], "tanh", "identity", seed=1, dtype="float64", engine=engine.name)
    none = chainrule.Network([3, 12, 7, 1], "tanh", "identity", seed=1, dtype="float64", engine=engine.name)
    chainrule.train(free, X, L, solver=solver, **how)
    chainrule.train(none, X, L, solver=solver, monotone=[0, 0, 0], **how)
    np.testing.assert_array_equal(free.parameters, none.parameters)


@pytest.mark.parametrize(
    ("monotone", "activation", "settings", "message"),
    [
        ([1], "tanh", {}, "monotone must have a number for each of the 2 inputs; got 1"),
        ([1, 2], "tanh", {}, r"monotone\[1\] must be a whole number of -1 to 1; got 2"),
        ([1, 0], "silu", {}, "monotone needs activations that never fall: identity, .*; this network has silu"),
        ([1, 0], "tanh", {"solver": "lbfgs"}, "monotone is of the solvers that step batch by batch"),
    ],
)
def test_bad_signs(monotone, activation, settings, message):
    net = chainrule.Network([2, 3, 1], activation, "identity")
    with pytest.raises(ValueError, match=message):
        chainrule.train(net, np.ones((3, 2)), np.ones((3, 1)), monotone=monotone, **settings)

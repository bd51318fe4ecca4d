"""Images that are distorted as they enter training, (95) to (97)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import chainrule
from chainrule import Augmentation, engines, images, reference
from conftest import NATIVE

STILL = Augmentation(rotation=0, scale=0, shear=0, shift=0, elastic=0)


def entered(engine, X, augment, seed=0, epoch=0, n_threads=1, dtype="float32"):
    out = np.empty((len(X), int(np.prod(X.shape[1:]))), dtype=dtype)
    engines.load(engine.name).distort(X, augment.for_rows(out.shape[1]), seed, epoch, out, n_threads)
    return out


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-12)])
@pytest.mark.parametrize("kind", ["uint8", "float32", "float64", "strided"])
@pytest.mark.parametrize("shape", [(28, 28), (9, 13), (16, 11, 3), (2, 2), (5, 40)], ids=str)
@pytest.mark.parametrize("augment", [Augmentation(rotation=40), Augmentation(elastic=0), Augmentation(smoothness=0.5)])
def test_engines_distort_alike(augment, shape, kind, dtype, tolerance, native, rng):
    d = int(np.prod(shape))
    X = rng.integers(0, 256, (7, 2 * d)).astype("uint8" if kind in ("uint8", "strided") else kind)
    X = X[::2, ::2] if kind == "strided" else np.ascontiguousarray(X[:, :d])
    known = Augmentation(**{**vars(augment), "shape": shape}).for_rows(d)
    slow, fast = np.empty((2, len(X), d), dtype)
    reference.distort(X, known, 5, 3, slow)
    NATIVE.distort(X, known, 5, 3, fast, 2)
    np.testing.assert_allclose(fast, slow, atol=tolerance * max(slow.max(), 1))


def test_what_does_nothing_changes_nothing(engine, rng):
    X = rng.integers(0, 256, (5, 120), dtype=np.uint8)
    still = Augmentation(**{**vars(STILL), "shape": (10, 12)})
    np.testing.assert_allclose(entered(engine, X, still), X / np.float32(255), atol=1e-6)


def ramp(height, width, slope):
    """An image that rises evenly, which between its pixels is known exactly."""
    y, x = np.mgrid[:height, :width]
    return (slope[0] * x + slope[1] * y).reshape(1, -1).astype(np.float64)


@pytest.mark.parametrize(
    "augment",
    [
        Augmentation(**{**vars(STILL), "rotation": 30}),
        Augmentation(**{**vars(STILL), "scale": 0.3}),
        Augmentation(**{**vars(STILL), "shear": 0.4}),
        Augmentation(**{**vars(STILL), "shift": 3}),
    ],
    ids=["rotation", "scale", "shear", "shift"],
)
def test_each_distortion_is_what_it_says(augment, engine):
    """From two ramps follows which place each pixel of the middle shows: an affine map, within its bounds."""
    n = 41
    known = augment.for_rows(n * n)
    place = np.stack(
        [
            entered(engine, ramp(n, n, slope), known, seed, dtype="float64").reshape(n, n)
            for seed in range(20)
            for slope in ([1, 0], [0, 1])
        ]
    ).reshape(20, 2, n, n)  # (x', y') of 20 images
    middle = n // 2
    at = place[:, :, middle, middle] - middle
    along_x, along_y = place[:, :, middle, middle + 1] - middle - at, place[:, :, middle + 1, middle] - middle - at
    (xx, yx), (xy, yy) = along_x.T, along_y.T
    if augment.shift:
        assert np.abs(at).max() <= 3
        assert np.abs(at).max() > 2
        assert np.abs(at.mean(axis=0)).max() < 1.2
    else:
        np.testing.assert_allclose(at, 0, atol=1e-9)
    if augment.rotation:
        angle = np.rad2deg(np.arctan2(yx, xx))
        np.testing.assert_allclose(xx**2 + yx**2, 1)
        np.testing.assert_allclose([xx, yx], [yy, -xy])
        assert 20 < np.abs(angle).max() <= 30
        assert angle.min() < 0 < angle.max()
    if augment.scale:
        np.testing.assert_allclose([xy, yx], 0, atol=1e-9)
        for size in (xx, yy):
            assert 0.7 <= size.min() < 1 < size.max() <= 1.3
        assert np.abs(xx - yy).max() > 0.1
    if augment.shear:
        np.testing.assert_allclose([xx, yy], 1)
        np.testing.assert_allclose(yx, 0, atol=1e-9)
        assert 0.3 < np.abs(xy).max() <= 0.4


def test_the_elastic_field_is_bounded_and_smooth(engine):
    n, bound, smoothness = 64, 2.0, 4.0
    augment = Augmentation(**{**vars(STILL), "elastic": bound, "smoothness": smoothness})
    x = np.arange(n)
    moved = np.stack([
        entered(engine, ramp(n, n, [1, 0]), augment, epoch=epoch, dtype="float64").reshape(n, n) - x for epoch in range(60)
    ])[:, 8:-8, 8:-8]  # fmt: skip
    assert np.abs(moved).max() < bound
    assert 0.2 * bound < moved.std() < 0.33 * bound
    # White noise blurred by a Gaussian of deviation σ has slopes of deviation 1/(√2 σ) of its own.
    slope = np.diff(moved, axis=2).std() / moved.std()
    assert slope == pytest.approx(1 / (np.sqrt(2) * smoothness), rel=0.15)


def test_an_image_depends_on_seed_epoch_and_row_alone(engine, rng):
    X = rng.integers(0, 256, (6, 64), dtype=np.uint8)
    X[1] = X[0]
    first = entered(engine, X, Augmentation())
    assert np.abs(first[0] - first[1]).max() > 0.05
    assert np.abs(first - entered(engine, X, Augmentation(), epoch=1)).max() > 0.05
    assert np.abs(first - entered(engine, X, Augmentation(), seed=1)).max() > 0.05
    np.testing.assert_array_equal(first, entered(engine, X, Augmentation(), n_threads=3))
    np.testing.assert_array_equal(first[:4], entered(engine, X[:4], Augmentation()))


def test_apply_shows_what_enters(rng):
    X = rng.integers(0, 256, (3, 8, 5), dtype=np.uint8)
    shown = Augmentation().apply(X, seed=3, epoch=2)
    assert shown.shape == X.shape
    assert shown.dtype == np.float32
    flat = Augmentation(shape=(8, 5)).apply(X.reshape(3, -1), seed=3, epoch=2, n_threads=2)
    np.testing.assert_array_equal(shown.reshape(3, -1), flat)


@pytest.mark.parametrize("threads", [1, 2])
def test_training_sees_each_image_anew(threads, engine, rng):
    """A step of training on what `apply` shows is the step of training with the augmentation."""
    X, L = rng.integers(0, 256, (40, 48), dtype=np.uint8), rng.random((40, 2))
    augment = Augmentation(shape=(6, 8))
    nets = [chainrule.Network([48, 5, 2], seed=1, engine=engine.name) for _ in range(2)]
    how = {"batch_size": 8, "learning_rate": 0.5, "seed": 4, "n_threads": threads}
    chainrule.train(nets[0], X, L, epochs=3, augment=augment, **how)
    state = None
    for epoch in range(3):
        state = chainrule.train(nets[1], augment.apply(X, seed=4, epoch=epoch), L, epochs=1, state=state, **how).state
    np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, atol=1e-5)


def test_distortions_help_on_few_digits(mnist):
    """500 digits, turned and bent, teach more than 500 digits."""
    from chainrule import files

    digits = files.read(mnist)
    X, y, rest = digits.X[:500], digits.y[:500].astype(int), slice(50_000, 52_000)
    errors = []
    for augment in (None, Augmentation()):
        net = chainrule.Network([784, 64, 10], activation="relu", output="softmax", seed=0)
        how = {"loss": "cross_entropy", "solver": "adamw", "learning_rate": 0.005, "schedule": "onecycle", "epochs": 60}
        chainrule.train(net, X, y, augment=augment, **how)
        errors.append((net.predict(digits.X[rest]).argmax(axis=1) != digits.y[rest].astype(int)).mean())
    assert errors[1] < 0.75 * errors[0], errors


# ---- estimators --------------------------------------------------------------------------------------------------------


def pictures(rng, n, side=12, shifts=3):
    """A cross or a ring, somewhere: uint8 (n, side, side), and which it is."""
    y, x = np.mgrid[:side, :side]
    kind = rng.integers(0, 2, n)
    middle = (side - 1) / 2 + rng.uniform(-shifts, shifts, (2, n, 1, 1))
    dx, dy = np.abs(x - middle[0]), np.abs(y - middle[1])
    ring = np.exp(-((np.hypot(dx, dy) - 2.5) ** 2))
    cross = np.exp(-(np.minimum(dx, dy) ** 2)) * (np.maximum(dx, dy) < 3)
    shown = np.where(kind[:, None, None] == 1, ring, cross) + rng.uniform(0, 0.6, (n, side, side))
    return (255 * shown / shown.max()).astype(np.uint8), kind


def test_what_are_images(rng):
    X = pictures(rng, 40)[0]
    flat = X.reshape(40, -1)
    for same in (flat, flat.astype(float), flat / 255, flat.astype(np.int64), X):
        assert images.shape_of(same) == (12, 12)
    assert images.shape_of(np.repeat(X[..., None], 3, axis=3)) == (12, 12, 3)
    for other in (
        flat[:, rng.permutation(144)],
        flat - 128.0,
        flat[:, :143],
        flat * 3.0,
        np.where(flat > 250, np.nan, flat),
        rng.random((50, 100)),
        rng.integers(0, 256, (50, 100), dtype=np.uint8),
        X.reshape(40, 12, 12) - 7.0,
        flat.tolist(),
        flat.astype(str),
    ):
        assert images.shape_of(other) is None


def test_curves_are_no_images(rng):
    """Neighbours are alike along a curve, such as a spectrum, too; not so between the rows of the square it would fill."""
    at, n = np.linspace(0, 1, 100), 300
    height, width = rng.random((n, 4)), np.array([0.05, 0.08, 0.06, 0.1])
    peaks = np.exp(-(((at - np.array([0.2, 0.4, 0.6, 0.8])[:, None]) / width[:, None]) ** 2))
    curves = 0.5 + 0.3 * np.sin(3 * at) + 0.01 * height @ peaks
    assert images.shape_of(curves) is None
    assert images.shape_of(np.round(255 * curves).astype(np.uint8)) is None
    y = 2 * height[:, 1] + height[:, 2] ** 2
    model = chainrule.Regressor(random_state=0, ensemble=2).fit(curves[:200], y[:200])
    assert model.score(curves[200:], y[200:]) > 0.9


FAST = {"hidden_layer_sizes": 32, "max_iter": 40, "random_state": 0, "n_threads": 2}


def test_images_of_any_kind_are_the_same(rng, tmp_path):
    X, y = pictures(rng, 120)
    first = chainrule.Classifier(**FAST).fit(X, y)
    assert first.rows_.shape == (12, 12)
    expected = first.predict_proba(X)
    path = tmp_path / "pictures.chain"
    chainrule.save(first, path)
    again = chainrule.load(path)
    for same in (X.reshape(120, -1), X.astype(float), X / 255.0, X.astype(np.int32).reshape(120, -1)):
        for model in (first, again):
            np.testing.assert_allclose(model.predict_proba(same), expected, atol=1e-6)
        alike = chainrule.Classifier(**FAST).fit(same, y)
        np.testing.assert_allclose(alike.predict_proba(X), expected, atol=2e-3)
    with pytest.raises(ValueError, match=r"X must hold grey levels 0..255, or 0..1; found -2"):
        first.predict(X[:2] - 2.0 * (X[:2] > 0) - 2.0)


@pytest.mark.filterwarnings("ignore:what was learned may well be chance")  # in five epochs
def test_images_of_any_range_and_container(rng, tmp_path):
    """Lists, booleans, 16 bits, -1..1, and frames of pixels are images, too, of grey levels that new ones must keep to."""
    X, y = pictures(rng, 90)
    for told, span, wrong in (
        (X.tolist(), (0, 255), X * -1.0),
        (X > 127, (0, 1), X * 10.0),
        (X / 127.5 - 1, (-1, 1), X * 1.0),
        (X.astype(np.uint16) * 257, (0, 65535), X * -257.0),
        (pd.DataFrame(X.reshape(90, -1)), (0, 255), pd.DataFrame(X.reshape(90, -1) * 3.0)),
        (X / 255.0, (0, 1), X * 10.0),
    ):
        model = chainrule.Classifier(**FAST | {"max_iter": 5}).fit(told, y)
        assert model.rows_.shape == (12, 12)
        assert model.rows_.span == span
        expected = model.predict_proba(told)
        assert model.summary().startswith("images of 12 x 12: ")
        chainrule.save(model, tmp_path / "m.chain")
        np.testing.assert_array_equal(chainrule.load(tmp_path / "m.chain").predict_proba(told), expected)
        with pytest.raises(ValueError, match=r"X must hold grey levels (0..1|-1..1|0..255|0..65535)"):
            model.predict(wrong)
    np.testing.assert_allclose(model.predict_proba(X.astype(float)), expected, atol=1e-6)  # 0..255 for 0..1
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of two epochs
def test_stated_distortions_of_frames(rng):
    """Pixels that are the same in all images stay; what is no number, or missing, is refused by its place."""
    X, y = pictures(rng, 60)
    X[:, 0] = 0
    frame = pd.DataFrame(X.reshape(60, -1), columns=[f"p{i}" for i in range(144)])
    for how in (FAST | {"max_iter": 2}, {"solver": "adam", "max_iter": 2, "tol": 0.0, "random_state": 0}):
        model = chainrule.Classifier(**how, augment=Augmentation(shift=1)).fit(frame, y)
        assert model.network_.sizes[0] == 144
        same = chainrule.Classifier(**how, augment=Augmentation(shift=1)).fit(X, y)
        np.testing.assert_array_equal(model.predict_proba(frame), same.predict_proba(X))
        holes = frame.astype(float)
        holes.iloc[3, 5] = np.nan
        with pytest.raises(ValueError, match="X must hold finite numbers; found NaN at row 3, column 5"):
            chainrule.Classifier(**how, augment=Augmentation(shift=1)).fit(holes, y)
        with pytest.raises(ValueError, match="X must hold numbers; found 'x' at row 0, column 2"):
            chainrule.Classifier(**how, augment=Augmentation(shift=1)).fit(frame.assign(p2="x"), y)


def test_distortions_are_chosen_where_they_help_and_only_there(rng):
    X, kind = pictures(rng, 400)
    helped = chainrule.Classifier(random_state=0, hidden_layer_sizes=64, max_iter=30, n_threads=2).fit(X, kind)
    assert "distorted images (" in helped.summary()
    assert len(helped.ensemble_.members) == 2
    side = rng.integers(0, 2, 400)  # a stripe, a fifth of a pixel further right or not: where it is, is the label
    stripe = np.exp(-((np.arange(12) - 5.4 - 0.2 * side[:, None]) ** 2))[:, None, :]
    X = (200 * stripe + rng.uniform(0, 40, (400, 12, 12))).astype(np.uint8)
    kept = chainrule.Classifier(random_state=0, hidden_layer_sizes=64, max_iter=30, n_threads=2).fit(X, side)
    assert "distorted" not in kept.summary()
    assert kept.score(X, side) > 0.97


@pytest.mark.filterwarnings("ignore:the network learned nothing")  # in five epochs
def test_the_user_states_the_distortion(rng, tmp_path):
    X, y = pictures(rng, 90)
    for given, said in ((Augmentation(shift=2, elastic=0), "shift 2)"), (None, "gelu 32 by adamw")):
        model = chainrule.Classifier(**FAST, augment=given).fit(X, y)
        assert said in model.summary()
        chainrule.save(model, tmp_path / "pictures.chain")
        assert chainrule.load(tmp_path / "pictures.chain").augment == given
    named = {"solver": "adam", "max_iter": 5, "hidden_layer_sizes": 8, "random_state": 0, "tol": 0.0}
    plain, moved = (chainrule.Classifier(**named, augment=a).fit(X, y) for a in ("auto", Augmentation()))
    assert moved.loss_curve_[-1] > plain.loss_curve_[-1]
    strip = X.reshape(90, 8, 18)  # not a square: the array says it
    shaped = chainrule.Classifier(**named, augment=Augmentation()).fit(strip, y)
    assert shaped.rows_.shape == (8, 18)
    flat = chainrule.Classifier(**named, augment=Augmentation(shape=(8, 18))).fit(strip.reshape(90, -1), y)
    np.testing.assert_array_equal(flat.network_.parameters, shaped.network_.parameters)
    with pytest.raises(ValueError, match="augment must be 'auto', None, or an Augmentation"):
        chainrule.Classifier(augment="elastic").fit(X, y)
    with pytest.raises(ValueError, match="augment is of the solvers that step batch by batch"):
        chainrule.Classifier(solver="lbfgs", augment=Augmentation()).fit(X, y)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (Augmentation(rotation=200), "rotation must be a finite number, 0 or more, 180 or less; got 200"),
        (Augmentation(scale=1), "scale must be a finite number, 0 or more, below 1; got 1"),
        (Augmentation(smoothness=0.1), "smoothness must be a finite number, 0.5 or more; got 0.1"),
        (Augmentation(shape=(4, 5)), r"shape=\(4, 5\) is of 20 numbers; a row of X has 30"),
        (Augmentation(shape=(30,)), r"shape must be \(height, width\) or \(height, width, channels\); got \(30,\)"),
        (Augmentation(shape=(1, 30)), r"shape\[0\] must be a whole number of 2"),
        (Augmentation(), r"shape must be given, as \(height, width\): 30 numbers a row are no square image"),
        ("elastic", r"augment must be an Augmentation, as chainrule.Augmentation\(rotation=10\); got 'elastic'"),
    ],
)
def test_bad_augmentations(augment, message):
    with pytest.raises((ValueError, TypeError), match=message):
        chainrule.train(chainrule.Network([30, 1]), np.ones((3, 30)), np.ones((3, 1)), augment=augment)


def test_second_order_solvers_take_no_augmentation():
    with pytest.raises(ValueError, match="augment is of the solvers that step batch by batch"):
        chainrule.train(
            chainrule.Network([4, 1]), np.ones((3, 4)), np.ones((3, 1)), solver="lbfgs", augment=Augmentation()
        )


def test_arguments_of_the_core_are_checked():
    X, out = np.ones((4, 30), "f"), np.empty((4, 30), "f")
    known = Augmentation(shape=(5, 6)).for_rows(30)
    for arguments, message in (
        ((X, known, 0, 0, out[:3].copy(), 1), "out must have the shape of X"),
        ((X[:, :20].copy(), known, 0, 0, out, 1), "the augmentation's shape and X disagree"),
        ((X, known, 0, 0, out, 0), "n_threads must be 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            NATIVE.distort(*arguments)

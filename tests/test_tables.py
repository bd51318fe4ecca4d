"""Columns of any kind: what they are taken for, what a network is given of them, and which errors name the place."""

from __future__ import annotations

import datetime
import json
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from chainrule import Classifier, Regressor
from chainrule.data import DataError
from chainrule.inputs import FASTEST, GOLDEN, MOST_BINS, Column, Form, Inputs
from chainrule.tables import read_table

FRAME = pd.DataFrame(
    {
        "number": [1.0, 2.0, np.nan, 4.0],
        "text": ["x", "y", None, "x"],
        "truth": [True, False, True, True],
        "date": pd.to_datetime(["2020-01-01", "2021-05-05", None, "2020-02-02"]),
        "nullable": pd.array([1, None, 3, 4], dtype="Int64"),
        "coded": pd.Categorical([1, 2, 1, 2]),
        "written": ["1.5", "NA", " 2", "3e1"],
        "words": ["yes", "no", "Yes", "n/a"],
        "iso": ["2020-01-01", "2020-05-01 12:00", "2020-01-03", ""],
        "constant": [7] * 4,
        "again": [1.0, 2.0, np.nan, 4.0],
    }
)
KINDS = ["number", "category", "boolean", "date", "number", "category", "number", "boolean", "date", "number", "number"]
DAYS = (datetime.date(2020, 1, 1) - datetime.date(1970, 1, 1)).days


def test_kinds_of_columns():
    table, columns = read_table(FRAME, "X")
    assert [column.kind for column in columns] == KINDS
    assert [column.name for column in columns] == FRAME.columns.tolist()
    expected = [1, 0, 1, DAYS, 1, 0, 1.5, 1, DAYS, 7, 1]
    np.testing.assert_array_equal(table[0], expected)
    assert table[1, 8] == DAYS + 121.5
    assert np.isnan(table).sum(axis=0).tolist() == [1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1]
    assert [column.classes for column in columns if column.kind == "category"] == [["x", "y"], [1, 2]]


def test_polars_reads_as_pandas_does():
    columns = {
        "a": [1, None, 3], "b": ["u", None, "v"], "c": [True, None, False],
        "d": [datetime.date(2020, 1, 1), None, datetime.date(2020, 1, 3)],
    }  # fmt: skip
    ours, kinds = read_table(pl.DataFrame({**columns, "e": pl.Series(["p", "q", "p"], dtype=pl.Categorical)}), "X")
    theirs, _ = read_table(pd.DataFrame({**columns, "e": pd.Categorical(["p", "q", "p"])}), "X")
    assert [column.kind for column in kinds] == ["number", "category", "boolean", "date", "category"]
    np.testing.assert_array_equal(ours, theirs)


def test_lists_and_arrays_of_anything():
    for X in (
        [[1, "a"], [2.5, "b"]],
        np.array([[1, "a"], [2.5, "b"]], dtype=object),
        np.array([["1", "a"], ["2.5", "b"]]),
    ):
        table, columns = read_table(X, "X")
        np.testing.assert_array_equal(table, [[1, 0], [2.5, 1]])
        assert [column.name for column in columns] == ["x0", "x1"]
    numbers = np.arange(6.0).reshape(3, 2)
    assert read_table(numbers, "X")[0] is numbers  # read in place
    assert [c.kind for c in read_table(np.eye(2, dtype=bool), "X")[1]] == ["boolean", "boolean"]
    dates = np.array([["2020-01-01"], ["2020-01-03"]], dtype="datetime64[D]")
    assert read_table(dates, "X")[0].tolist() == [[DAYS], [DAYS + 2]]
    aware = pd.DataFrame({"t": pd.to_datetime(["2020-01-01 01:00+01:00"])})
    assert read_table(aware, "X")[0].tolist() == [[DAYS]]


def test_new_rows_are_read_as_the_first_were():
    _, columns = read_table(FRAME, "X")
    new = FRAME.assign(text=["z", "y", "y", None], coded=pd.Categorical([3, 1, 2, 2]))
    table, same = read_table(new, "X", columns)
    assert all(a is b for a, b in zip(same, columns, strict=True))
    np.testing.assert_array_equal(table[:, 1], [-1, 1, 1, np.nan])  # −1: not there before
    np.testing.assert_array_equal(table[:, 5], [-1, 0, 1, 1])
    whole = FRAME.assign(number=[1, 2, 3, 4], truth=[1, 0, 1, 1], nullable=[True, True, False, False])
    assert read_table(whole, "X", columns)[0][:, 0].tolist() == [1, 2, 3, 4]
    nothing = FRAME.assign(text=[None] * 4, number=[None] * 4, date=[None] * 4)
    assert np.isnan(read_table(nothing, "X", columns)[0][:, [0, 1, 3]]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": ["1", "warm", "3", "4"]}, r"X, column 'number': most values are a number; found 'warm' at row 1"),
        (
            {"iso": ["2020-01-01", "2020-05-32", "2020-01-03", ""]},
            r"'iso': most values are a date; found '2020-05-32' at row 1",
        ),
        ({"text": [{}, "a", "b", "c"]}, r"'text': an argument must be a string or a number; found dict at row 0"),
        ({"number": [1.0, np.inf, 3.0, 4.0]}, r"found inf at row 1, column 'number'"),
    ],
    ids=str,
)
def test_columns_that_are_no_columns(change, message):
    with pytest.raises((DataError, TypeError), match=message):
        read_table(FRAME.assign(**change), "X")


def test_columns_of_another_kind_than_before():
    _, columns = read_table(FRAME, "X")
    for change, message in (
        (
            {"number": ["a", "b", "c", "d"]},
            r"X, column 'number': is a number in what was learned from; found 'a' at row 0",
        ),
        (
            {"number": ["1", "2", "no", "4"]},
            r"X, column 'number': is a number in what was learned from; found 'no' at row 2. Correct it, or leave it empty",
        ),
        (
            {"words": ["yes", "1", "maybe", "0"]},
            r"'words': is a boolean in what was learned from; found 'maybe' at row 2",
        ),
        ({"iso": ["2020-01-01", "soon", "", ""]}, r"'iso': is a date in what was learned from; found 'soon' at row 1"),
        ({"date": [1, 2, 3, 4]}, r"X, column 'date': is a date in what was learned from; found 1"),
    ):
        with pytest.raises(DataError, match=message):
            read_table(FRAME.assign(**change), "X", columns)
    for words, kind in (
        (["yes", "no"] * 4 + ["no service"] * 2, "category"),  # a third class, not a slip
        (["113803", "A/5 21171", "PC 17599", "17463"] * 5, "category"),
        (["3", "4"] * 10 + ["17 kg"], None),
        (["2020-01-01"] * 10 + ["soon"], None),
    ):
        if kind is None:
            with pytest.raises(DataError, match=r"most values are a (number|date); found '(17 kg|soon)' at row"):
                read_table(np.array(words, dtype=object)[:, None], "X")
        else:
            assert read_table(np.array(words, dtype=object)[:, None], "X")[1][0].kind == kind
    with pytest.raises(TypeError, match=r"'text': an argument must be a string or a number; found list at row 1"):
        read_table(FRAME.assign(text=["x", [], "y", "x"]), "X", columns)
    mixed = FRAME.assign(number=pd.Series([True, 2.5, None, "3"], dtype=object), words=["1", "no", "NA", "YES"])
    table, _ = read_table(mixed, "X", columns)
    np.testing.assert_array_equal(table[:, 0], [1, 2.5, np.nan, 3])
    np.testing.assert_array_equal(table[:, 7], [1, 0, np.nan, 1])


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (lambda i: f"{i % 28 + 1:02d}/03/2020", "'t': most values look like dates; found '01/03/2020' at row 0. Write year,"),
        (lambda i: f"{i % 12 + 1}/{i % 28 + 1}/20", "look like dates"),
        (lambda i: f"{i % 28 + 1}.{i % 12 + 1}.2020 12:30", "look like dates"),
        (lambda i: f"{i % 12}:{i % 60:02d} pm", "look like times of day; found '0:00 pm' at row 0. Write hours, minutes"),
        (lambda i: f"{i},{i + 5}", "look like numbers with a comma; found '0,5' at row 0. Write 1234.5"),
        (lambda i: f"1,{i:03d},000.5", "look like numbers with a comma"),
        (lambda i: f"<{i / 10}" if i % 3 else f"{i}", "look like numbers with a sign; found '<0.1' at row 1. Leave the sign"),
        (lambda i: f"{i} %", "look like numbers with a sign.* put a letter before them"),
        (lambda i: f"€ {i}", "look like numbers with a sign"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*different texts in")
def test_numbers_and_dates_otherwise_written_are_no_classes(written, message):
    cells = [written(i) for i in range(40)]
    with pytest.raises(DataError, match=message):
        read_table(pd.DataFrame({"t": cells}), "X")
    assert read_table(pd.DataFrame({"t": pd.Categorical(cells)}), "X")[1][0].kind == "category"


@pytest.mark.parametrize("written", ["2020-01-31 06:00", "2020/1/31 06:00:00", "2020.01.31 6:00", "2020-1-31T06:00Z"])
def test_dates_the_year_first(written):
    table, (column,) = read_table(pd.DataFrame({"t": ["1970/1/2", written]}), "X")
    assert column.kind == "date"
    assert table[:, 0].tolist() == [1, 18292.25]
    assert read_table(pd.DataFrame({"t": ["1970-01-02"]}), "X", [column])[0].tolist() == [[1]]


def test_months_are_dates():
    table, (column,) = read_table(pd.DataFrame({"t": ["2020-03", "2020/4", None, "1969-12"]}), "X")
    assert column.kind == "date"
    np.testing.assert_array_equal(table[:, 0], [18322, 18353, np.nan, -31])
    for no in (["2020-13", "2020-03"], ["1001-05", "1002-07"]):  # no month, no year that is likely
        assert read_table(pd.DataFrame({"t": no}), "X")[1][0].kind == "category"


def test_times_of_day_are_numbers():
    """Many of them; a few may well be names of classes."""
    cells = [f"{i % 24}:{i % 60:02d}" for i in range(40)] + ["06:30:45.5", None]
    table, (column,) = read_table(pd.DataFrame({"t": cells}), "X")
    assert column.kind == "number"
    assert table[-2, 0] * 24 == pytest.approx(6 + 30 / 60 + 45.5 / 3600)
    assert np.isnan(table[-1, 0])
    assert read_table(pd.DataFrame({"t": ["12:00"]}), "X", [column])[0].tolist() == [[0.5]]
    assert read_table(pd.DataFrame({"t": ["8:00", "16:00"] * 20}), "X")[1][0].kind == "category"
    with pytest.raises(DataError, match="'t': most values are a time of day; found 'noon' at row 40"):
        read_table(pd.DataFrame({"t": [*cells[:40], "noon"]}), "X")


@pytest.mark.filterwarnings("ignore:.*different texts in")
def test_classes_that_look_a_little_like_numbers_stay_classes():
    for cells in (
        ["<18", "18-25", "26-40", ">40"] * 10,  # few
        [f"{i}-{i + 5}" for i in range(40)],
        [f"{i}.{i + 1}.{i + 2}" for i in range(40)],  # versions
        [f"A{i}:{i:02d}" for i in range(40)],
        [f"{i},{i + 5}" if i % 2 else "none such" for i in range(40)],
    ):
        assert read_table(pd.DataFrame({"t": cells}), "X")[1][0].kind == "category"


def test_classes_are_found_however_they_are_written():
    frame = pd.DataFrame({"code": pd.Categorical([1, 2, 1, 3]), "word": [" a", "a", "b ", "01"]})
    _, columns = read_table(frame, "X")
    assert columns[1].classes == ["01", "a", "b"]
    new = pd.DataFrame({"code": ["1", "2.0", " 3", "x"], "word": ["a ", "b", "1", "A"]})
    np.testing.assert_array_equal(read_table(new, "X", columns)[0], [[0, 1], [1, 2], [2, 0], [-1, -1]])
    zips = pd.DataFrame({"zip": pd.Categorical(["0123", "123", "7"])})  # two are the same number: as they are written
    _, columns = read_table(zips, "X")
    assert read_table(pd.DataFrame({"zip": ["123", "00123", "07"]}), "X", columns)[0][:, 0].tolist() == [1, -1, 2]


def test_texts_that_all_differ_are_said():
    frame = pd.DataFrame({"id": [f"sample {i:03}" for i in range(40)], "site": [f"s{i % 20}" for i in range(40)]})
    with pytest.warns(UserWarning, match="X, column 'id': has 40 different texts in 40 rows, as 'sample 000'") as said:
        read_table(frame, "X")
    assert len(said) == 1


def test_a_column_of_which_all_is_missing_is_missing():
    """However that is written: of a category, too."""
    known = pd.DataFrame({"c": ["a", "b", None] * 4, "x": np.arange(12.0), "t": pd.Timestamp("2020-01-01")})
    _, columns = read_table(known, "X")
    for gone in (None, np.nan, pd.NA):
        frame = pd.DataFrame({"c": [gone], "x": [1.0], "t": [pd.NaT]})
        assert np.isnan(read_table(frame, "X", columns)[0][0]).tolist() == [True, False, True]
    frame = pl.DataFrame({"c": [None] * 5, "x": [1.0] * 5, "t": [None] * 5})
    assert np.isnan(read_table(frame, "X", columns)[0][:, 0]).all()
    assert columns[0].classes == ["a", "b"]


def test_few_whole_numbers_as_text_are_names_beside_numbers():
    codes, x = [str(i % 5) for i in range(40)], np.arange(40.0)
    assert read_table(pd.DataFrame({"c": codes, "x": x}), "X")[1][0].classes == ["0", "1", "2", "3", "4"]
    assert read_table(pl.DataFrame({"c": codes, "x": x}), "X")[1][0].kind == "category"
    for frame in (
        pd.DataFrame({"c": codes, "x": x.astype(str)}),  # all is text
        pd.DataFrame({"c": [f"{i}" for i in range(40)], "x": x}),  # many
        pd.DataFrame({"c": [f"{i % 5 / 2}" for i in range(40)], "x": x}),
    ):
        assert read_table(frame, "X")[1][0].kind == "number"
    _, columns = read_table(pd.DataFrame({"c": np.arange(40) % 5, "x": x}), "X")
    assert read_table(pd.DataFrame({"c": codes, "x": x}), "X", columns)[0][:, 0].tolist() == [i % 5 for i in range(40)]


def test_a_column_all_of_whose_classes_are_new_is_said():
    _, columns = read_table(pd.DataFrame({"town": ["Rome", "Oslo", "Bern", "Rome"]}), "X")
    with pytest.warns(
        UserWarning, match=r"X, column 'town': none of its values, as 'BERN', was in what was learned from"
    ):
        read_table(pd.DataFrame({"town": ["ROME", "OSLO", "BERN"]}), "X", columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_table(pd.DataFrame({"town": ["ROME", "OSLO", "Bern"]}), "X", columns)
        read_table(pd.DataFrame({"town": ["Graz"]}), "X", columns)


def test_booleans_and_the_order_of_columns_are_kept():
    frame = pd.DataFrame({0: [True, False, True], 1: [1.0, 2.0, 3.0]})
    _, columns = read_table(frame, "X")
    assert read_table(frame.assign(**{}).astype(float), "X", columns)[0].tolist() == [[1, 1], [0, 2], [1, 3]]
    with pytest.raises(DataError, match="is a boolean in what was learned from; found 2 at row 2"):
        read_table(pd.DataFrame({0: [0, 1, 2], 1: [1.0, 2.0, 3.0]}), "X", columns)
    with pytest.raises(DataError, match=r"X, column 0: is a boolean in what was learned from; found 0.5 at row 1"):
        read_table(np.array([[1, 1], [0.5, 2]]), "X", columns)
    with pytest.raises(
        DataError, match="X must have the columns that were learned from, in their order; found 1 at place 0"
    ):
        read_table(frame[[1, 0]], "X", columns)
    with pytest.raises(DataError, match="found 2 at place 1 where 1 was"):
        read_table(frame.rename(columns={1: 2}), "X", columns)


def learned(frame, scaling="robust"):
    table, columns = read_table(frame, "X")
    return table, Inputs.learn(columns, table, scaling)


def test_what_a_network_is_given():
    table, inputs = learned(FRAME)
    assert inputs.used == [0, 1, 2, 3, 4, 5, 6, 7, 8]  # neither what is constant nor what was there before
    for form in (Form(), Form(8), Form(MOST_BINS), Form(waves=5), Form(32, 16, 4)):
        encoded = inputs.encode(table, form)
        assert encoded.shape == (4, inputs.width(form))
        assert encoded.dtype == np.float32
        assert np.isfinite(encoded).all()
        assert len(inputs.groups(form)) == inputs.width(form)
        assert inputs.groups(form) == sorted(inputs.groups(form))
    text = inputs.encode(table)[:, inputs.groups().index(1) :][:, :3]
    assert text.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]  # x, y, missing
    unseen, _ = read_table(FRAME.assign(text="z"), "X", inputs.columns)
    assert not inputs.encode(unseen)[:, inputs.groups().index(1) :][:, :3].any()


def test_all_columns_stay_where_scaling_is_the_standard_one():
    frame = FRAME[["number", "constant", "again"]]
    table, inputs = learned(frame, "standard")
    assert inputs.used == [0, 1, 2]
    encoded = inputs.encode(table)
    known = ~np.isnan(table[:, 0])
    np.testing.assert_allclose(encoded[known, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(encoded[known, 0].std(), 1, rtol=1e-6)
    assert encoded[2, :2].tolist() == [0, 1]  # missing: the mean, and that it was


def test_outliers_are_drawn_in():
    x = np.r_[np.random.default_rng(0).normal(10, 2, 1000), 1e9]
    _, inputs = learned(pd.DataFrame({"x": x}))
    z = inputs.encode(x[:, None])[:, 0]
    assert abs(z[:1000].std() - 1) < 0.15
    assert 3 < z[1000] < 30
    np.testing.assert_allclose(z[:10], (x[:10] - np.median(x)) / inputs.columns[0].scale, rtol=1e-5)  # others stay


def test_beyond_what_was_seen_bins_and_waves_hold(rng):
    """By less than the last bin, without a kink; what is given as it is, to linear models, goes on."""
    x = rng.normal(size=(500, 1))
    _, inputs = learned(pd.DataFrame({"x": x[:, 0]}))
    end, start = x.max(), inputs.columns[0].quantiles[-1 - MOST_BINS // 32]
    new = np.array([[end], [end + 1e-4], [end + 1], [1e3]])
    plain, rich = (inputs.encode(new, form)[:, 0] * inputs.columns[0].scale for form in (Form(), Form(32, 16, 8)))
    np.testing.assert_allclose(plain[:3] - plain[0], [0, 1e-4, 1], atol=1e-6)
    np.testing.assert_allclose(rich[:2] - rich[0], [0, 1e-4], atol=1e-6)
    assert 0.5 * (end - start) < rich[2] - rich[0] < rich[3] - rich[0] <= (end - start) * (1 + 1e-5)
    np.testing.assert_array_equal(inputs.encode(x, Form(32, 16, 8))[:, 0], inputs.encode(x)[:, 0])


def test_a_skewed_column_without_outliers_stays_as_it_is():
    """A pressure of three decades: a function of it is smooth in it, not in what a logarithm makes of its upper part."""
    x = np.geomspace(1e-2, 10, 400)
    _, inputs = learned(pd.DataFrame({"p": x, "q": np.sqrt(x)}))
    z = inputs.encode(np.c_[x, np.sqrt(x)])[:, 0]
    assert 6 < z.max() < 20
    np.testing.assert_allclose(z, (x - np.median(x)) / inputs.columns[0].scale, rtol=1e-5)
    new = inputs.encode(np.array([[1e6, 0.0]]))[0, 0]  # of new rows outliers are drawn in
    assert 20 < new < 50


def test_shares_of_bins():
    """A value's share of each bin: from edge to edge, of equal numbers of rows (Gorishniy et al. 2022)."""
    x = np.random.default_rng(0).exponential(size=640)
    _, inputs = learned(pd.DataFrame({"x": x}))
    edges = inputs.columns[0].edges(8)
    assert np.histogram(x, edges)[0].tolist() == [80] * 8
    shares = inputs.encode(np.array([[edges[0]], [(edges[2] + edges[3]) / 2], [edges[8] + 1]]), Form(8))[:, 1:]
    np.testing.assert_allclose(shares, [[-0.5] * 8, [0.5, 0.5, 0, *[-0.5] * 5], [0.5] * 8], atol=1e-6)
    few = pd.DataFrame({"x": [1.0, 2.0, 5.0] * 10})
    assert learned(few)[1].columns[0].edges(16).tolist() == [1, 2, 5]
    assert learned(few)[1].width(Form(16)) == 3
    assert (
        learned(pd.DataFrame({"x": [0.0, 1.0] * 10}))[1].width(Form(16)) == 1
    )  # of one bin the share is the number again


def test_waves():
    """cos 2π(f z + φ) of what enters as a number; f up to a constant, in equal steps."""
    x = np.random.default_rng(0).exponential(size=640)
    table, inputs = learned(pd.DataFrame({"x": x, "few": np.arange(640) % 2, "gone": np.where(x > 1, np.nan, x)}))
    encoded = inputs.encode(table, Form(waves=4))
    assert inputs.groups(Form(waves=4)) == [0] * 5 + [1] + [2] * 6  # two values have no waves; one says what is missing
    z = inputs.encode(table, dtype="float64")[:, :1]
    expected = np.cos(2 * np.pi * (FASTEST * np.array([1, 2, 3, 4]) / 4 * z + GOLDEN * np.arange(4)))
    np.testing.assert_allclose(encoded[:, 1:5], expected, atol=1e-7)
    gone = np.isnan(table[:, 2])
    assert (encoded[gone, 6:11] == 0).all()
    np.testing.assert_allclose(np.abs(encoded[~gone, 7:11]).max(axis=0), 1, atol=0.01)


def test_dates_go_round():
    """A day and the same day a year later are the same to the network but for the time that has passed."""
    dates = pd.date_range("2019-01-01", periods=800, freq="D")
    table, inputs = learned(pd.DataFrame({"t": dates}))
    assert inputs.columns[0].periods == [365.2425, 7.0]
    z = inputs.encode(table)
    assert np.abs(z[0, 1:3] - z[365, 1:3]).max() < 0.01
    assert np.abs(z[0, 3:] - z[7, 3:]).max() < 1e-5
    hours = pd.DataFrame({"t": pd.date_range("2020-01-01", periods=30, freq="h")})
    assert learned(hours)[1].columns[0].periods == [1.0]


def test_inputs_come_back_from_json():
    table, inputs = learned(FRAME)
    again = Inputs.from_json(json.loads(json.dumps(inputs.to_json())))
    for form in (Form(), Form(16, 8)):
        np.testing.assert_array_equal(again.encode(table, form), inputs.encode(table, form))


@pytest.mark.parametrize(
    "forgery",
    [
        {"scale": 0.0}, {"scale": float("nan")}, {"kind": "code"}, {"quantiles": [1.0]}, {"values": [2.0, 1.0]},
        {"center": "1"},
    ],
    ids=str,
)  # fmt: skip
def test_forged_columns(forgery):
    _, inputs = learned(FRAME)
    described = inputs.to_json()
    described["columns"][0].update(forgery)
    with pytest.raises(ValueError, match="not one that was learned"):
        Inputs.from_json(described)
    described = inputs.to_json()
    for used in ([], [0, 0], [1, 0], [-1], [99]):
        with pytest.raises(ValueError, match="columns used"):
            Inputs.from_json({**described, "used": used})


def test_columns_that_say_nothing():
    table, inputs = learned(pd.DataFrame({"a": [1.0, 1.0], "b": [None, None], "c": ["x", "x"]}))
    assert inputs.used == [0]  # a network has one input at least
    assert inputs.encode(table).tolist() == [[0], [0]]
    assert Column("x", "number").edges(8).tolist() == []


# ---- whole numbers that are names --------------------------------------------------------------------------------------


def shops(rows=1200, shops=80, seed=0):
    r = np.random.default_rng(seed)
    of, x = r.integers(0, shops, rows) * 3 + 7, r.normal(size=rows)
    return np.c_[of, x], r.normal(size=shops)[(of - 7) // 3], 0.3 * r.normal(size=rows), r


def found_codes(X, y):
    table, columns = read_table(X, "X")
    inputs = Inputs.learn(columns, table, "robust")
    inputs.find_codes(table, np.asarray(y, dtype=np.float64).reshape(len(X), -1))
    return inputs, table


def test_codes_are_told_from_quantities():
    X, of_shop, noise, r = shops()
    inputs, _ = found_codes(X, of_shop + X[:, 1] ** 2 + noise)
    assert inputs.columns[0].codes == np.unique(X[:, 0]).tolist()
    assert inputs.columns[1].codes == []  # no whole numbers
    k = X[:, 0]
    smooth = (np.sin(k / 40) + noise, 0.1 * k, np.cos(k / 20), (k > 120) * 2.0 + noise)
    for y in (*smooth, r.normal(size=len(k)), np.zeros(len(k))):
        assert found_codes(X, y)[0].columns[0].codes == []
    assert found_codes(np.c_[np.arange(len(k)), X], of_shop)[0].columns[0].codes == []  # a number for each row
    Y = np.c_[r.normal(size=len(k)), of_shop + noise]
    Y[::3, 1] = np.nan
    assert found_codes(X, Y)[0].columns[0].codes  # one of several labels is enough
    gone = X.copy()
    gone[::9, 0] = np.nan
    assert found_codes(gone, of_shop + noise)[0].columns[0].codes


def test_codes_are_given_one_by_one():
    X, of_shop, noise, _ = shops()
    inputs, table = found_codes(X, of_shop + noise)
    rich, plain = Form(32, 16, 8), Form()
    column = inputs.columns[0]
    assert column.width(rich) == 1 + 32 + 16 + 80
    assert column.width(plain) == 1
    assert len(inputs.groups(rich)) == inputs.width(rich)
    own = inputs.encode(table, rich)[:, 49:129]
    assert (own.argmax(axis=1) == (X[:, 0] - 7) // 3).all()
    assert (own.sum(axis=1) == 1).all()
    unseen = inputs.encode(np.array([[8.0, 0.0], [1e6, 0.0]]), rich)[:, 49:129]
    assert (unseen == 0).all()
    again = Inputs.from_json(json.loads(json.dumps(inputs.to_json())))
    assert np.array_equal(again.encode(table, rich), inputs.encode(table, rich))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of so few epochs
def test_codes_are_learned():
    X, of_shop, noise, _ = shops(rows=1500)
    y = of_shop + noise
    model = Regressor(random_state=0, max_iter=40, ensemble=2).fit(X[:1000], y[:1000])
    assert model.score(X[1000:], y[1000:]) > 0.8
    assert Regressor(monotonic_cst=[0, 1], max_iter=3, ensemble=2).fit(X, y).inputs_.columns[0].codes == []


# ---- other values ------------------------------------------------------------------------------------------------------


def test_other_numbers_and_times_are_numbers():
    frame = pd.DataFrame(
        {
            "price": [Decimal("1.5"), Decimal("2"), None],
            "took": pd.to_timedelta(["1 days", "12 hours", None]),
            "lasted": [datetime.timedelta(days=2), datetime.timedelta(hours=6), None],
            "at": [datetime.time(6), datetime.time(18, 30), None],
            "month": pd.PeriodIndex(["2020-01", "2020-02", None], freq="M"),
            "name": [b"a", b"b", None],
        }
    )
    table, columns = read_table(frame, "X")
    assert [column.kind for column in columns] == ["number"] * 4 + ["date", "category"]
    days = [18262.0, 18293.0]
    expected = [[1.5, 2.0], [1.0, 0.5], [2.0, 0.25], [0.25, 18.5 / 24], days, [0.0, 1.0]]
    np.testing.assert_allclose(table[:2].T, expected)
    assert np.isnan(table[2]).all()
    spans = np.array([[1], [36]], dtype="timedelta64[h]")
    assert read_table(spans, "X")[0].ravel().tolist() == [1 / 24, 1.5]
    assert read_table(np.array([[b"x"], [b"y"]]), "X")[1][0].classes == ["x", "y"]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"a": [1, 2]}, "X must be an array or a frame, a row for each example; found a dict. Make a frame of it"),
        ([{"a": 1}, {"a": 2}], "found a list of dicts. Make a frame of it"),
        (np.zeros(2, dtype=[("a", "f8")]), "found an array of records. Make a frame of it"),
        (pl.LazyFrame({"a": [1, 2]}), r"found a LazyFrame. Call its collect\(\) first"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "X has two columns named 'a'; name them apart"),
        (pd.DataFrame({"a": [(1, 2), (3, 4)]}), "found tuple at row 0. Make columns of what is in it"),
    ],
)
def test_tables_without_rows_and_columns_are_refused(X, message):
    with pytest.raises((TypeError, DataError), match=message):
        Regressor(random_state=0).fit(X, [0.0, 1.0])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a", np.nan, "b"], "y must hold a class in each row; found nan at row 1. Leave such rows out"),
        (pd.Series(["a", None, "b"], dtype="string"), "y must hold a class in each row; found .*NA.* at row 1"),
        (
            np.array(["a", 1, "b"], dtype=object),
            "y must hold classes of one kind; found 'a' at row 0, 1 at row 1. Make",
        ),
        (np.array(["2020-01-01"] * 3, dtype="datetime64[D]"), "y must hold classes; found dates. Make them text"),
    ],
)
def test_classes_that_are_none_are_refused(y, message):
    with pytest.raises(DataError, match=message):
        Classifier(random_state=0).fit([[0.0], [1.0], [2.0]], y)


def test_errors_of_a_validation_set_name_it():
    X = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match="X_val has 2 features"):
        Regressor(random_state=0).fit(X, X[:, 0], X_val=X[:, :2], y_val=X[:, 0])

"""Data in: each kind of file read right, and each kind of bad file refused with its place and a remedy."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import chainrule
from chainrule import data
from chainrule.data import DataError
from chainrule.files import read, read_idx
from chainrule.tables import read_table

TABLE = "temperature,pressure,strength\n20,1.5,30\n25,2.5,35\n30,3.5,41\n"


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def idx(array: np.ndarray, code: int, kind: str) -> bytes:
    header = bytes([0, 0, code, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + array.astype(kind).tobytes()


# ---- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        TABLE,
        TABLE.replace(",", ";"),
        TABLE.replace(",", "\t"),
        TABLE.replace("\n", "\r\n"),
        "﻿" + TABLE,
        "\n" + TABLE + "\n\n",
        TABLE.replace("20,", ' "20", '),
    ],
    ids=["comma", "semicolon", "tab", "windows", "byte order mark", "blank lines", "quotes"],
)
def test_csv(tmp_path, content):
    examples = read(
        write(tmp_path / "t.csv", content.lstrip("\n") if content.startswith("\n") else content), "strength"
    )
    assert examples.features == ["temperature", "pressure"]
    np.testing.assert_array_equal(examples.X, [[20, 1.5], [25, 2.5], [30, 3.5]])
    np.testing.assert_array_equal(examples.y, [30, 35, 41])


def test_csv_columns_are_found_by_name(tmp_path):
    path = write(tmp_path / "t.csv", TABLE)
    examples = read(path, features=["pressure", "temperature"])
    np.testing.assert_array_equal(examples.X, [[1.5, 20], [2.5, 25], [3.5, 30]])
    assert examples.y is None


def test_csv_of_any_columns(tmp_path):
    rows = ["1,red,yes,2020-01-01,,1", ",blue,no,2020-01-02,,2", "3,NA,yes,,x,3", "nan,red,,2020-01-04,,4"]
    path = write(tmp_path / "t.csv", "n,colour,truth,day,rare,y\n" + "\n".join(rows) + "\n")
    examples = read(path, "y")
    table, columns = read_table(examples.X, "X")
    assert [column.kind for column in columns] == ["number", "category", "boolean", "date", "category"]
    days = [18262, 18263, np.nan, 18265]
    expected = np.array(
        [[1, np.nan, 3, np.nan], [1, 0, np.nan, 1], [1, 0, 1, np.nan], days, [np.nan, np.nan, 0, np.nan]]
    )
    np.testing.assert_array_equal(table, expected.T)
    numbers = read(path, "y", ["n"]).X
    assert numbers.dtype == np.float64, "a table of numbers stays one, with gaps, too"
    np.testing.assert_array_equal(numbers, expected[:1].T)


def test_csv_is_read_as_the_kinds_of_a_model(tmp_path):
    path = write(tmp_path / "t.csv", "code,n,truth\n1,,0\n2,na,1\n")
    codes, numbers, truth = read(path, features=["code", "n", "truth"], kinds=["category", "number", "boolean"]).X.T
    assert codes.tolist() == ["1", "2"], "not 1.0, which is no class"
    assert np.isnan(numbers.astype(float)).all()
    assert truth.tolist() == ["0", "1"]
    write(path, "code,n\n1,5\n2,no\n3,x\n")
    for kind, message in (
        ("number", r"t\.csv, line 3, column 'n': is a number in what was learned from; found 'no'. Correct it"),
        ("date", r"t\.csv, line 2, column 'n': is a date in what was learned from; found '5'"),
        ("finite number", r"t\.csv, line 3, column 'n': must be a finite number; found 'no'"),
    ):
        with pytest.raises(DataError, match=message):
            read(path, features=["n"], kinds=[kind])
    assert read(path, "code", ["n"], kinds=["category"]).X.tolist() == [["5"], ["no"], ["x"]]


def test_csv_of_classes(tmp_path):
    path = write(tmp_path / "t.csv", 'size,kind\n1,"a, b"\n2,c\n')
    assert read(path, "kind").y.tolist() == ["a, b", "c"]
    path = write(tmp_path / "t.csv", "size,kind\n1,none\n2,mild\n")
    assert read(path, "kind").y.tolist() == ["none", "mild"], "a class may be called so"


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        ("", "y", "is empty; a header line and at least one row"),
        ("\n\n", "y", "is empty"),
        ("a,y\n", "y", "has a header but no rows"),
        ("1,2\n3,4\n", "y", "line 1 holds numbers; it must name the columns"),
        ("a,a,y\n1,2,3\n", "y", "names column 'a' more than once"),
        (TABLE, "strenght", "has no column 'strenght' to learn; its columns are temperature, pressure, strength"),
        ("a,y\n1,2\n3\n", "y", "line 3: has 1 cells where the header has 2"),
        ("a,y\n1,2\n\n3,4,5\n", "y", "line 4: has 3 cells where the header has 2"),
        ("a,y\n1,2\nwarm,3\n3,4\n", "y", r"line 3, column 'a': most values are a number; found 'warm'. Correct it"),
        ("a,y\n2020-01-01,2\n2020-02-30,3\n2020-03-01,4\n", "y", r"line 3, column 'a': most values are a date; found"),
        ("a,y\n1,2\n-inf,3\n", "y", r"line 3, column 'a': must be a finite number; found '-inf'"),
        ("a,y\n,2\n1e999,3\n", "y", r"line 3, column 'a': must be a finite number; found '1e999'"),
        ("a,y\n1,2\n2,high\n", "y", r"line 3, column 'y': must be a finite number; found 'high'"),
        ("a,y\n1,2\n2,\n", "y", r"line 3, column 'y': the label is missing; found an empty cell. Fill it in, or leave"),
        ("a,y\n1,2\n2,NaN\n", "y", r"line 3, column 'y': the label is missing; found 'NaN'"),
        ("a,y\n1,low\n2,\n", "y", r"line 3, column 'y': the label is missing"),
        ("a,y\n1,low\n2,N/A\n", "y", r"line 3, column 'y': the label is missing; found 'N/A'"),
        ("y\n1\n", "y", "has no column besides the target 'y'"),
        (b"a,y\n1,\xff\xfe\n", "y", "is not text in UTF-8"),
        ('a,y\n1,"2\n3,4\n', "y", "is not a readable CSV table: unexpected end of data"),
    ],
    ids=str,
)
def test_bad_csv(tmp_path, content, target, message):
    path = write(tmp_path / "t.csv", content)
    with pytest.raises(DataError, match=message) as caught:
        read(path, target)
    assert str(path) in str(caught.value)


def test_missing_column_of_a_model(tmp_path):
    path = write(tmp_path / "t.csv", TABLE)
    with pytest.raises(DataError, match="has no column 'humidity', which the model needs"):
        read(path, features=["temperature", "humidity"])


def test_unknown_kinds_of_file(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match=r"of unknown kind; allowed are \.csv"):
        read(write(tmp_path / "t.xlsx", "?"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no examples"):
        read(tmp_path / "empty")


# ---- IDX ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"), [(0x08, "u1"), (0x09, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx(tmp_path, code, kind, packed):
    array = np.arange(24).reshape(2, 3, 4)
    raw = idx(array, code, kind)
    result = read_idx(write(tmp_path / "a-idx3", gzip.compress(raw) if packed else raw))
    np.testing.assert_array_equal(result, array)
    assert result.dtype == np.dtype(kind).newbyteorder("=")


IMAGES = np.arange(5 * 16, dtype=np.uint8).reshape(5, 4, 4)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is no IDX file"),
        (b"\x89PNG\r\n", "is no IDX file: it begins with '89 50 4e 47'"),
        (idx(IMAGES, 0x08, "u1")[:3], "is no IDX file"),
        (b"\0\0\x07\x01" + bytes(8), "is no IDX file"),
        (idx(IMAGES, 0x08, "u1")[:10], "is cut within its header: 10 bytes, 16 expected"),
        (idx(IMAGES, 0x08, "u1")[:-7], r"is cut: 89 bytes, 96 expected for shape \(5, 4, 4\)"),
        (idx(IMAGES, 0x08, "u1") + b"?", "has too many bytes"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "is cut: 16 bytes"),
        (gzip.compress(idx(IMAGES, 0x08, "u1"))[:-12], "is damaged gzip"),
        (b"\x1f\x8b" + bytes(30), "is damaged gzip"),
    ],
)
def test_bad_idx(tmp_path, raw, message):
    path = write(tmp_path / "train-images-idx3-ubyte", raw)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def folder_of_idx(path, **files):
    for name, array in files.items():
        write(path / f"{name.replace('_', '-')}-idx{array.ndim}-ubyte.gz", gzip.compress(idx(array, 0x08, "u1")))
    return path


def test_folder_of_idx(tmp_path):
    folder = folder_of_idx(
        tmp_path, train_images=IMAGES, train_labels=np.arange(5), t10k_images=IMAGES[:2], t10k_labels=np.arange(2)
    )
    examples = read(folder)
    assert examples.X.dtype == np.uint8
    assert examples.X.shape == (5, 16)
    assert examples.shape == (4, 4)
    assert examples.test.y.tolist() == [0, 1]


def test_folder_of_idx_that_does_not_fit(tmp_path):
    with pytest.raises(DataError, match=r"has shape \(4,\), but .* has 5 images"):
        read(folder_of_idx(tmp_path / "a", train_images=IMAGES, train_labels=np.arange(4)))
    with pytest.raises(DataError, match="no pair of images and labels"):
        read(folder_of_idx(tmp_path / "b", train_images=IMAGES))


def test_mnist(mnist):
    examples = read(mnist)
    assert examples.X.shape == (60000, 784)
    assert examples.test.X.shape == (10000, 784)
    assert examples.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


# ---- images ------------------------------------------------------------------------------------------------------------


def picture(path, value, mode="L", size=(3, 2)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)
    return path


@pytest.fixture
def pictures(tmp_path):
    for name, value in (("cat", 10), ("dog", 200)):
        for i in range(3):
            picture(tmp_path / name / f"{i}.png", value + i)
    write(tmp_path / "cat" / "notes.txt", "not an image")
    return tmp_path


def test_one_folder_a_class(pictures):
    examples = read(pictures)
    assert examples.y.tolist() == ["cat"] * 3 + ["dog"] * 3
    assert examples.shape == (2, 3)
    np.testing.assert_array_equal(examples.X[:, 0], [10, 11, 12, 200, 201, 202])


def test_train_and_test_folders(tmp_path):
    for part, count in (("train", 3), ("test", 1)):
        for name, value in (("cat", 10), ("dog", 200)):
            for i in range(count):
                picture(tmp_path / part / name / f"{i}.png", value + i)
    examples = read(tmp_path)
    assert len(examples.X) == 6
    assert examples.test.y.tolist() == ["cat", "dog"]


def test_index_csv(pictures):
    write(pictures / "index.csv", "file,animal,weight\ncat/0.png,Tom,3\ndog/1.png,Rex,9\n")
    with pytest.raises(DataError, match=r"name the column to learn with --target; it has animal, weight"):
        read(pictures)
    examples = read(pictures, "animal")
    assert examples.y.tolist() == ["Tom", "Rex"]
    np.testing.assert_array_equal(examples.X[:, 0], [10, 201])


def test_colour_makes_three_numbers_a_pixel(pictures):
    picture(pictures / "dog" / "9.png", (1, 2, 3), "RGB")
    examples = read(pictures)
    assert examples.shape == (2, 3, 3)
    assert examples.X.shape == (7, 18)
    assert examples.X[-1, :3].tolist() == [1, 2, 3]
    assert examples.X[0, :3].tolist() == [10, 10, 10]


def test_bad_images(pictures):
    write(pictures / "cat" / "7.png", (pictures / "cat" / "0.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"7\.png: cannot be read as an image"):
        read(pictures)
    write(pictures / "cat" / "7.png", "hello")
    with pytest.raises(DataError, match=r"7\.png: cannot be read as an image"):
        read(pictures)
    picture(pictures / "cat" / "7.png", 0, size=(5, 5))
    with pytest.raises(
        DataError, match=r"7\.png: is 5 x 5 pixels, but 0\.png is 3 x 2 pixels; bring all images to one size"
    ):
        read(pictures)
    write(pictures / "index.csv", "file,animal\ncat/12.png,Tom\n")
    with pytest.raises(DataError, match=r"index\.csv, line 2, column 'file': there is no file .*12\.png"):
        read(pictures)


# ---- arrays ------------------------------------------------------------------------------------------------------------


def test_sums_that_overflow_are_not_infinity():
    data.check_finite(np.full((10, 10), 1e308), "X")
    data.check_finite(np.full((10, 10), 3e38, dtype=np.float32), "X")
    with pytest.raises(DataError, match="found -inf at row 3, column b"):
        data.check_finite(np.where(np.arange(8).reshape(4, 2) == 7, -np.inf, 1e308), "X", ["a", "b"])


def test_numbers_of_any_type_are_taken():
    for values in ([[1, 2]], [[True, False]], [["1", "2.5"]], np.array([[1, 2]], dtype=np.float16)):
        rows = data.as_rows(values, "X", 2, np.dtype("float32"))
        assert rows.dtype in (np.float32, np.float64)
    with pytest.raises(DataError, match="equal length"):
        data.as_rows(np.array([[1, 2], [3]], dtype=object), "X", 2, np.dtype("float32"))


# ---- what a table may look like, and how its targets are taken -----------------------------------------------------------


def test_delimiter_is_found_between_the_quotes(tmp_path):
    table = '"a; mm","b; mm","c; x; y; z",strength\n1,2,3,4\n5,6,7,8\n'
    assert read(write(tmp_path / "t.csv", table), "strength").features == ["a; mm", "b; mm", "c; x; y; z"]


def test_compressed_table_and_delimiter_at_the_end_of_each_line(tmp_path):
    np.testing.assert_array_equal(
        read(write(tmp_path / "t.csv.gz", gzip.compress(TABLE.encode())), "strength").y, [30, 35, 41]
    )
    path = write(tmp_path / "t.csv", TABLE.replace("\n", ",\n"))
    assert read(str(path), "strength").features == ["temperature", "pressure"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TABLE.replace("pressure", ""), "line 1: column 2 has no name; give it one"),
        (TABLE.replace("2.5", "1_0"), "line 3, column 'pressure': most values are a number; found '1_0'"),
        (TABLE.replace("2.5", "٣"), "line 3, column 'pressure': most values are a number; found '٣'"),
        (TABLE.replace(",", ";").replace("2.5", "2,5"), "found '2,5'. Write '2.5'"),
        (TABLE.replace(",", ";").replace(".", ","), "line 2, column 'pressure': .* found '1,5'. Write '1.5'"),
        (TABLE.replace("35", '"35'), "line 4: is not a readable CSV table: .*look for a quote that is not closed"),
        (TABLE.replace("strength", "Strength"), "has no column 'strength' to learn; .* Did you mean 'Strength'"),
    ],
)
def test_tables_that_are_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "t.csv", content), "strength")


def test_targets_are_numbers_or_names_of_classes(tmp_path):
    path = write(tmp_path / "t.csv", "a,number,name,mixed\n1,001,x,2\n2,002,y,3a\n3,001,z,4b\n")
    assert read(path, "number", ["a"]).y.tolist() == [1.0, 2.0, 1.0]
    assert read(path, "number", ["a"], task="classification").y.tolist() == ["001", "002", "001"], "as written"
    assert read(path, "mixed", ["a"]).y.tolist() == ["2", "3a", "4b"]
    mostly = write(tmp_path / "m.csv", "a,mixed\n1,2\n2,3a\n3,4\n")
    with pytest.raises(DataError, match=r"line 3.*found '3a'.*add --task classification if the column names classes"):
        read(mostly, "mixed")
    assert read(mostly, "mixed", task="classification").y.tolist() == ["2", "3a", "4"]
    with pytest.raises(DataError, match="column 'name' holds text; regression needs numbers"):
        read(path, "name", ["a"], task="regression")


def test_dates_are_no_target_unless_it_is_said(tmp_path):
    days = [f"2024-01-{day:02d}" for day in range(1, 21)]
    path = write(tmp_path / "t.csv", "a,when\n" + "".join(f"{k},{day}\n" for k, day in enumerate(days)))
    with pytest.raises(
        DataError, match=r"line 2.*holds dates, which are no target; found '2024-01-01'.*Write days as num"
    ):
        read(path, "when")
    assert read(path, "when", task="classification").y.tolist() == days
    few = write(tmp_path / "f.csv", "a,when\n" + "".join(f"{k},{days[k % 3]}\n" for k in range(20)))
    assert sorted(set(read(few, "when").y)) == days[:3]


def test_column_called_path_may_hold_numbers(tmp_path):
    examples = read(write(tmp_path / "t.csv", "path,image,y\n1,2,3\n4,5,6\n"), "y")
    assert examples.features == ["path", "image"]


def test_index_of_images_with_quantities(tmp_path):
    for i in range(3):
        Image.new("L", (2, 2), 50 * i).save(tmp_path / f"{i}.png")
    path = write(tmp_path / "index.csv", "file,angle,digit\n0.png,0.5,7\n1.png,1.5,8\n2.png,2.5,7\n")
    assert read(tmp_path, "angle").y.tolist() == [0.5, 1.5, 2.5]
    assert read(tmp_path, "digit").y.tolist() == ["7", "8", "7"]
    assert read(tmp_path, "digit", task="regression").y.tolist() == [7.0, 8.0, 7.0]
    assert read(path, labels=False).y is None


def test_images_of_sixteen_bits(tmp_path):
    levels = np.array([[0, 257, 25700], [65535, 128, 129]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").X.tolist() == [[0, 1, 100, 255, 0, 1]]
    Image.fromarray(np.array([[0.5]], dtype=np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(DataError, match=r"f\.tif: holds floating-point numbers"):
        read(tmp_path / "f.tif")
    Image.fromarray(np.array([[70000]], dtype=np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(DataError, match=r"i\.tif: holds 70000 to 70000; save it with 8 or 16 bits"):
        read(tmp_path / "i.tif")


def test_grey_images_saved_in_colour_are_grey(tmp_path):
    Image.new("L", (2, 1), 9).convert("RGB").save(tmp_path / "a.png")
    Image.new("L", (2, 1), 9).convert("P").save(tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        assert read(tmp_path / name).shape == (1, 2)


def test_bad_idx_folders(tmp_path):
    images, labels = np.zeros((3, 2, 2), "f4"), np.arange(3)
    images[2, 0, 1] = np.nan
    write(tmp_path / "train-images-idx3-ubyte", idx(images, 0x0D, ">f4"))
    write(tmp_path / "train-labels-idx1-ubyte", idx(labels, 0x08, "u1"))
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte must hold finite numbers; found NaN at row 2, column 1"
    ):
        read(tmp_path)
    write(tmp_path / "train-images-idx3-ubyte", idx(np.zeros((3, 2, 2)), 0x08, "u1"))
    write(tmp_path / "t10k-images-idx3-ubyte", idx(np.zeros((3, 2, 3)), 0x08, "u1"))
    write(tmp_path / "t10k-labels-idx1-ubyte", idx(labels, 0x08, "u1"))
    with pytest.raises(DataError, match="its test images are of 3 x 2 pixels, those to learn from of 2 x 2 pixels"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"holds no images: its shape is \(0, 2, 2\)"):
        read(write(tmp_path / "e-idx3-ubyte", idx(np.zeros((0, 2, 2)), 0x08, "u1")))


# ---- arrays ------------------------------------------------------------------------------------------------------------


def test_rows_are_set_aside_from_each_class():
    classes = np.repeat(np.arange(12), [1, 1, 2, 3, 10, 20, 30, 40, 50, 60, 1, 100])
    kept, aside = data.set_aside(len(classes), 0.2, 0, classes)
    assert sorted([*kept, *aside]) == list(range(len(classes)))
    assert len(aside) == round(0.2 * len(classes))
    counts = np.bincount(classes[aside], minlength=12)
    assert counts[[0, 1, 10]].tolist() == [0, 0, 0], "a class keeps its only row"
    np.testing.assert_allclose(counts, 0.2 * np.bincount(classes), atol=1.5)
    again = data.set_aside(len(classes), 0.2, 0, classes)[1]
    np.testing.assert_array_equal(aside, again)
    assert not np.array_equal(aside, data.set_aside(len(classes), 0.2, 1, classes)[1])
    assert [len(part) for part in data.set_aside(6, 0.1, 0)] == [5, 1]
    with pytest.raises(DataError, match="n_samples=3, too few"):
        data.set_aside(3, 0.5, 0, np.arange(3))


@pytest.mark.parametrize("value", ["x", None, np.nan, -1, True, 1.0])
def test_numbers_are_checked(value):
    with pytest.raises(ValueError, match="share must be a finite number, 0 or more, below 1; got"):
        data.check_number("share", value, 0, 1, "[)")


def test_numbers_that_float32_cannot_hold():
    with pytest.raises(DataError, match=r"X must hold numbers up to 3.4e\+38; found 1e\+300 at row 1, column 0"):
        data.as_rows([[1.0], [1e300]], "X", 1, np.dtype("f4"))
    assert data.as_rows([[1e300]], "X", 1, np.dtype("f8"))[0, 0] == 1e300


def test_rows_of_unequal_length():
    with pytest.raises(DataError, match="X must hold rows of equal length; row 0 has 2 numbers, row 1 has 1"):
        data.as_rows([[1.0, 2.0], [3.0]], "X", 2, np.dtype("f4"))


def test_masked_values_are_refused():
    """NumPy would return what is below the mask."""
    X = np.ma.array(np.ones((4, 2)), mask=[[0, 0], [0, 1], [0, 0], [0, 0]])
    net, model = (
        chainrule.Network([2, 3, 1]),
        chainrule.Regressor(solver="adam", hidden_layer_sizes=(3,), max_iter=1, tol=0),
    )
    for refused in (
        lambda: net.predict(X),
        lambda: net.loss_and_gradient(X.data, X[:, 1]),
        lambda: model.fit(X, X[:, 0]),
    ):
        with pytest.raises(DataError, match=r"[XL] must have no masked values; found one at \[1"):
            refused()
    assert net.predict(np.ma.array(X.data)).shape == (4, 1)


def test_field_of_packed_records():
    records = np.zeros(3, dtype=[("l", "u1"), ("x", "f4", (2,))])
    records["x"] = [[1, 2], [3, 4], [5, 6]]
    assert data.as_rows(records["x"], "X", 2, np.dtype("f4")).flags.aligned

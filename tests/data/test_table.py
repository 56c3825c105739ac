"""DATA as a csv: separators, encodings, headings, splits, and errors that name the line."""

import pytest

from vitral.data import open_data
from vitral.errors import DataError, UsageError


@pytest.fixture
def images(write):
    for number in range(6):
        write(f"images/{number}.png", number)


def table(tmp_path, text: str, encoding: str = "utf-8"):
    file = tmp_path / "table.csv"
    file.write_bytes(text.encode(encoding))
    return file


def classes(data) -> dict[str, str]:
    return {sample.path: data.class_names[sample.label] for sample in data.samples}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_separators_encodings_and_line_ends(tmp_path, images, separator, encoding, line_end):
    rows = [("path", "label"), ("images/0.png", "maçã"), ("images/1.png", "pêra"), ("images/2.png", "maçã")]
    file = table(tmp_path, line_end.join(separator.join(row) for row in rows), encoding)
    assert classes(open_data(file)) == dict(rows[1:])


def test_labels_are_text(tmp_path, images):
    file = table(
        tmp_path, "path,label\nimages/0.png,007\nimages/1.png,7\nimages/2.png,1e3\nimages/3.png,NA\n"
    )
    assert classes(open_data(file)) == {
        "images/0.png": "007",
        "images/1.png": "7",
        "images/2.png": "1e3",
        "images/3.png": "NA",
    }


def test_other_headings_and_ids_without_an_ending(tmp_path, images):
    file = table(tmp_path, "diagnosis;comment;id_code\n0;a, b;images/0\n1;;images/1\n")
    data = open_data(file, columns={"path": "id_code", "label": "diagnosis"})
    assert classes(data) == {"images/0": "0", "images/1": "1"}
    assert all(data.read(sample).shape == (40, 48, 3) for sample in data.samples)


def test_splits_in_either_language_and_groups(tmp_path, images):
    file = table(
        tmp_path,
        "Path,Label,Split,Group\nimages/0.png,a,treino,p1\nimages/1.png,b,Train,p1\n"
        "images/2.png,a,validação,p2\nimages/3.png,b,TEST,\n",
    )
    data = open_data(file)
    assert [(s.path[7], s.split, s.group) for s in data.samples] == [
        ("0", "train", "p1"),
        ("1", "train", "p1"),
        ("2", "validation", "p2"),
        ("3", "test", ""),
    ]
    assert data.has_groups


def test_absolute_paths_and_backslashes(tmp_path, images):
    file = table(tmp_path, f"path,label\n{tmp_path / 'images/0.png'},a\nimages\\1.png,b\n")
    data = open_data(file)
    assert data.bad_files == ()
    assert len(data.samples) == 2


def test_quoted_cells_may_hold_separators_and_line_ends(tmp_path, write):
    write("a, b.png", 1)
    write("c.png", 2)
    file = table(tmp_path, 'path,label\n"a, b.png","one\ntwo"\nc.png,three\n')
    assert classes(open_data(file)) == {"a, b.png": "one\ntwo", "c.png": "three"}


def test_a_missing_image_is_a_bad_file(tmp_path, images, write):
    for number in range(10, 16):
        write(f"images/{number}.png", number)
    rows = [f"images/{n}.png,{'ab'[n % 2]}" for n in (*range(6), *range(10, 16))]
    file = table(tmp_path, "path,label\n" + "\n".join([*rows, "images/lost.png,a"]))
    data = open_data(file)
    assert len(data.samples) == 12
    assert [(bad.path, "no such file" in bad.reason) for bad in data.bad_files] == [("images/lost.png", True)]


def test_a_class_whose_images_are_all_missing_is_named(tmp_path, images):
    file = table(tmp_path, "path,label\nimages/0.png,a\nimages/1.png,b\nlost.png,c\n")
    with pytest.raises(DataError, match="no usable image in class 'c'"):
        open_data(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        ("path,label\n", "no rows"),
        ("file,diagnosis\nimages/0.png,a\n", r"no column 'path', only 'file', 'diagnosis'.*--columns path="),
        (
            "path,diagnosis\nimages/0.png,a\n",
            r"no column 'label', only 'path', 'diagnosis'.*--columns label=",
        ),
        ("path,label\nimages/0.png,a\nimages/1.png,\n", "line 3: the label is empty"),
        ("path,label\nimages/0.png\n", "line 2: the label is empty"),
        ("path,label\n,a\n", "line 2: the path is empty"),
        ("path,label\n\nimages/0.png,a\n\nimages/1.png, \n", "line 5: the label is empty"),
        ("path,label\nimages/0.png,a,b\n", "line 2: 3 columns under 2 headings"),
        ("path,label,split\nimages/0.png,a,training-ish\n", "line 2: 'training-ish' is no split"),
        (
            "path,label,split\nimages/0.png,a,train\nimages/1.png,b,\n",
            "line 3: no split, while other lines have one",
        ),
        ("path,label\nimages/0.png,a\nimages/1.png,a\n", "one class only"),
        ("path,label\nimages/0.png,a\nimages/0.png,b\n", "line 2 as a and in line 3 as b"),
    ],
)
def test_tables_that_cannot_be_used_name_the_line(tmp_path, images, text, message):
    with pytest.raises(DataError, match=message):
        open_data(table(tmp_path, text))


def test_text_of_another_encoding_is_refused(tmp_path, images):
    with pytest.raises(DataError, match="UTF-8"):
        open_data(table(tmp_path, "path,label\nimages/0.png,a\n", "utf-16"))


def test_unknown_columns_are_refused(tmp_path, images):
    file = table(tmp_path, "path,label\nimages/0.png,a\nimages/1.png,b\n")
    with pytest.raises(UsageError, match="the columns are path, label, split, group"):
        open_data(file, columns={"image": "path"})
    with pytest.raises(DataError, match="no column 'patient'"):
        open_data(file, columns={"group": "patient"})


def test_a_row_that_is_there_twice_counts_once(tmp_path, images):
    file = table(tmp_path, "path,label\nimages/0.png,a\nimages/1.png,b\nimages/0.png,a\n")
    data = open_data(file)
    assert len(data.samples) == 2
    assert [(left.path, left.reason) for left in data.left_out] == [
        ("images/0.png", "listed a second time in line 4")
    ]

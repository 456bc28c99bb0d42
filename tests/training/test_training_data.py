"""Training images from one file: they are the same pictures as from a folder, or refused in one sentence."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pyarrow as arrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from freemcg.training.data import load_training_images

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 12, 3), dtype=np.uint8)
LABELS = [2, 0, 1, 2, 0, 1]


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def write_parquet(path, contents, labels=None, names=None):
    rows = [{"bytes": content, "path": None} for content in contents]
    columns = {"image": arrow.array(rows, arrow.struct({"bytes": arrow.binary(), "path": arrow.string()}))}
    if labels is not None:
        columns["label"] = arrow.array(labels)
    table = arrow.table(columns)
    if names is not None:
        described = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(described)})
    parquet.write_table(table, path, row_group_size=4)
    return path


@pytest.fixture
def folder(tmp_path):
    """The pictures of `PIXELS` in class folders that are named by their labels."""
    for index, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        place = tmp_path / "pictures" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index}.png").write_bytes(png(pixels))
    return tmp_path / "pictures"


def load(path, channels=3, image_size=8):
    return load_training_images(str(path), channels=channels, image_size=image_size, progress=False)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["parquet", "npz", "plain npz"])
def test_a_file_holds_the_same_training_images_as_a_folder(tmp_path, folder, kind, channels):
    path = tmp_path / f"packed.{kind.split()[-1]}"
    if kind == "parquet":
        write_parquet(path, map(png, PIXELS), LABELS)
    elif kind == "npz":
        np.savez(path, train_images=PIXELS, train_labels=np.array(LABELS, dtype=np.uint8)[:, None])
    else:
        np.savez(path, images=PIXELS, labels=np.array(LABELS))
    expected, found = load(folder, channels), load(path, channels)
    order = sorted(range(6), key=lambda index: (LABELS[index], index))  # a folder is read class by class
    assert torch.equal(found.images[order], expected.images)
    assert torch.equal(found.labels[order], expected.labels)
    assert found.class_names == expected.class_names == ("0", "1", "2")


@pytest.mark.parametrize("shape", [(9, 12), (9, 12, 1)])
def test_grey_arrays_become_colour_where_it_is_asked_for(tmp_path, shape):
    np.savez(tmp_path / "grey.npz", train_images=PIXELS[..., 0].reshape(6, *shape))
    found = load(tmp_path / "grey.npz")
    assert found.images.shape == (6, 3, 8, 8)
    assert torch.equal(found.images[:, 0], found.images[:, 2])
    assert (found.labels, found.class_names) == (None, ())


def test_classes_are_called_as_the_metadata_of_a_parquet_file_call_them(tmp_path):
    named = write_parquet(tmp_path / "a.parquet", map(png, PIXELS), LABELS, names=["cat", "dog", "frog"])
    assert load(named).class_names == ("cat", "dog", "frog")
    short = write_parquet(tmp_path / "b.parquet", map(png, PIXELS), LABELS, names=["cat", "dog"])
    assert load(short).class_names == ("0", "1", "2")
    unlabelled = write_parquet(tmp_path / "c.parquet", map(png, PIXELS))
    assert (load(unlabelled).labels, load(unlabelled).class_names) == (None, ())


def test_a_parquet_file_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "a.parquet", map(png, PIXELS))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        load(path)
    assert str(caught.value) == f"{path} is read with pyarrow, which is not installed: pip install 'freemcg[parquet]'"


def test_a_file_that_holds_no_training_images_is_one_sentence(tmp_path):
    def refused(path, sentence):
        with pytest.raises(ValueError) as caught:
            load(path)
        assert str(caught.value).replace(str(tmp_path) + "/", "").startswith(sentence)
        assert "\n" not in str(caught.value)

    def arrays(**named):
        np.savez(tmp_path / "a.npz", **named)
        return tmp_path / "a.npz"

    text = tmp_path / "notes.txt"
    text.write_text("cats")
    refused(text, "notes.txt is no training data; name a folder of pictures, a .parquet file or an .npz file")
    damaged = write_parquet(tmp_path / "damaged.parquet", map(png, PIXELS))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    refused(damaged, "damaged.parquet is no Parquet file, or is cut short (")
    parquet.write_table(arrow.table({"picture": ["x"], "label": [0]}), tmp_path / "other.parquet")
    refused(
        tmp_path / "other.parquet",
        "other.parquet must have a column 'image' of structs with 'bytes'; it has picture, label",
    )
    refused(
        write_parquet(tmp_path / "b.parquet", [png(PIXELS[0]), None]),
        "b.parquet holds no picture in row 1; write the pictures' bytes into it",
    )
    refused(
        write_parquet(tmp_path / "b.parquet", [png(PIXELS[0]), b"no picture"]),
        "the picture in row 1 of b.parquet is not a picture that Pillow can read",
    )
    refused(
        write_parquet(tmp_path / "b.parquet", map(png, PIXELS), [0, 1, 2, -1, 0, 1]),
        "labels must be whole numbers from 0; b.parquet holds -1",
    )
    refused(
        write_parquet(tmp_path / "b.parquet", map(png, PIXELS), list("abcabc")),
        "labels must be whole numbers from 0; b.parquet holds 'a'",
    )
    refused(write_parquet(tmp_path / "b.parquet", []), "b.parquet holds no image")
    refused(arrays(test_images=PIXELS), "a.npz must hold 'train_images' or 'images'; it holds test_images")
    refused(arrays(images=PIXELS, labels=np.zeros(5, int)), "a.npz holds 5 labels for 6 images")
    refused(
        arrays(images=PIXELS, labels=np.zeros(6)),
        "labels must be whole numbers from 0; a.npz holds 0.0",
    )
    refused(
        arrays(images=PIXELS / 255), "'images' of a.npz must be uint8, (N, H, W) or (N, H, W, 3); it is float64, (6, 9,"
    )
    refused(
        arrays(images=PIXELS.transpose(0, 3, 1, 2)),
        "'images' of a.npz must be uint8, (N, H, W) or (N, H, W, 3); it is uint8, (6, 3, 9, 12)",
    )
    refused(arrays(images=np.array([None])), "a.npz cannot be read as plain arrays of NumPy (")
    (tmp_path / "a.npz").write_bytes(b"PK no archive")
    refused(tmp_path / "a.npz", "a.npz cannot be read as plain arrays of NumPy (")

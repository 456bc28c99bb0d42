"""The wheel that users install: it holds the bundled models whole, and stays small."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from freemcg.files.bundles import BUNDLES, bundle_folder

ROOT = Path(__file__).parents[1]
building = pytest.importorskip("hatchling.builders.wheel")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    (path,) = building.WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")))
    return Path(path)


@pytest.mark.parametrize("name", BUNDLES)
def test_every_file_of_a_bundle_is_in_the_wheel_as_it_is(wheel, name):
    files = [path for path in bundle_folder(name).rglob("*") if path.is_file()]
    assert len(files) > 5
    with zipfile.ZipFile(wheel) as archive:
        for path in files:
            assert archive.read(f"freemcg/models/bundles/{path.relative_to(bundle_folder('digits').parent)}") == (
                path.read_bytes()
            )


def test_the_wheel_stays_below_25_megabytes(wheel):
    assert wheel.stat().st_size < 25e6

"""The picture of failures: a tile each, captions that can be read."""

import cv2
import numpy as np
import pytest
from tandem.runtime.errors import TandemError
from tandem.tools.evaluate.grid import Tile, compose, wrap, write_grid


def _tile(value: int) -> Tile:
    image = np.full((128, 128, 3), value, np.uint8)
    return Tile(image, f"#{value}: put the purple cube into the bin; lifted the orange one instead")


def test_the_grid_is_written_with_a_row_for_every_three(tmp_path):
    path = tmp_path / "failures.png"
    write_grid(path, [_tile(10 * i) for i in range(5)], "5 failures of 300")
    picture = cv2.imread(str(path))[..., ::-1]
    assert picture.shape[1] == 3 * 256
    assert (picture[100, 256 + 100] == 10).all()  # second tile, RGB as given
    assert picture[300, :256].min() < 100 < 240 < picture[300, :256].max()  # ink on paper


def test_no_failures_is_a_picture_too():
    assert compose([], "0 failures of 300").shape[2] == 3


def test_captions_break_between_words():
    lines = wrap("put the purple cube into the bin, please, and then rest", 200)
    assert len(lines) > 1
    assert " ".join(lines) == "put the purple cube into the bin, please, and then rest"


@pytest.mark.parametrize("name", ["failures.txt", "nowhere/failures.png"])
def test_a_bad_path_says_what_to_do(tmp_path, name):
    with pytest.raises(TandemError, match=r"must end in|is its folder there"):
        write_grid(tmp_path / name, [_tile(1)], "")

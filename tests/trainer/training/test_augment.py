"""Augmentation moves pixels and invents none."""

from __future__ import annotations

import pytest
import torch

from archpress_trainer.training.augment import erase, flip, mirrored, move, random_crop


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 200) -> torch.Tensor:
    """Return images whose pixels are all different from zero and from each other."""
    size = 2 * 5 * 6
    return torch.arange(1, size + 1).view(1, 2, 5, 6).repeat(count, 1, 1, 1).to(torch.uint8)


def test_flip_mirrors_about_half_of_the_images() -> None:
    before = images()
    which = mirrored(len(before), generator())
    after = flip(before, which)
    assert torch.equal((after == before).flatten(1).all(dim=1), ~which)
    assert torch.equal((after == before.flip(-1)).flatten(1).all(dim=1), which)
    assert 70 < int(which.sum()) < 130
    assert after.dtype == torch.uint8


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (1, 0), (-2, 0), (0, 3), (0, -1), (2, -1)])
def test_a_moved_image_is_where_it_was_moved_to(rows: int, columns: int) -> None:
    before = images(2)
    after = move(before, rows, columns)
    expected = torch.zeros_like(before)
    for row in range(5):
        for column in range(6):
            if 0 <= row - rows < 5 and 0 <= column - columns < 6:
                expected[..., row, column] = before[..., row - rows, column - columns]
    assert torch.equal(after, expected)


def test_a_crop_is_a_window_of_the_padded_image() -> None:
    before = images()
    after = random_crop(before, 2, generator())
    assert after.shape == before.shape
    padded = torch.nn.functional.pad(before, (2, 2, 2, 2))
    places = set()
    for crop, whole in zip(after, padded, strict=True):
        found = [
            (row, column)
            for row in range(5)
            for column in range(5)
            if torch.equal(crop, whole[:, row : row + 5, column : column + 6])
        ]
        assert len(found) == 1
        places.update(found)
    assert len(places) == 25


def test_each_image_keeps_its_own_content() -> None:
    before = torch.arange(50).view(50, 1, 1, 1).expand(50, 1, 4, 4) + 1
    after = random_crop(before.contiguous(), 1, generator())
    for index, crop in enumerate(after):
        assert set(crop.unique().tolist()) <= {0, index + 1}


def test_erasing_blackens_a_square_anywhere() -> None:
    before = images(500)
    after = erase(before, 3, generator())
    assert after.dtype == torch.uint8
    black = after == 0
    assert torch.equal(after, before * ~black)
    # The same pixels in every channel, and all squares around the 5 x 6 pixels occur.
    assert torch.equal(black[:, 0], black[:, 1])
    found = {tuple(map(tuple, square.nonzero().tolist())) for square in black[:, 0]}
    expected = {
        tuple(
            (y, x)
            for y in range(max(0, row - 1), min(5, row + 2))
            for x in range(max(0, column - 1), min(6, column + 2))
        )
        for row in range(5)
        for column in range(6)
    }
    assert found == expected


def _flipped(batch: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    return flip(batch, mirrored(len(batch), draws))


def _cropped(batch: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    return random_crop(batch, 3, draws)


def _erased(batch: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    return erase(batch, 2, draws)


def test_the_generator_decides() -> None:
    before = images()
    for change in (_flipped, _cropped, _erased):
        assert torch.equal(change(before, generator(1)), change(before, generator(1)))
        assert not torch.equal(change(before, generator(1)), change(before, generator(2)))


def test_no_padding_changes_nothing() -> None:
    assert torch.equal(random_crop(images(), 0, generator()), images())

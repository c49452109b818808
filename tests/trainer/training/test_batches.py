"""Batches hold every image once, and say which is which."""

from __future__ import annotations

import torch

from archpress_trainer.data.dataset import LabelledImages
from archpress_trainer.training.batches import batches
from archpress_trainer.training.recipe import Recipe

COUNT = 50
RECIPE = Recipe("test", 1, batch_size=16)


def data() -> LabelledImages:
    images = torch.arange(COUNT * 6).view(COUNT, 1, 2, 3).remainder(251).to(torch.uint8)
    return LabelledImages(images, torch.arange(COUNT))


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_places_name_each_image_and_its_mirror() -> None:
    source = data()
    both = torch.cat([source.images, source.images.flip(-1)])
    places = []
    for batch in batches(source, RECIPE, draws()):
        assert torch.equal(batch.images, both[batch.places])
        assert torch.equal(batch.labels, batch.places % COUNT)
        places.append(batch.places)
    seen = torch.cat(places)
    assert len(seen) == 48
    assert len((seen % COUNT).unique()) == 48
    assert 0 < int((seen >= COUNT).sum()) < 48


def test_nothing_is_mirrored_unless_asked_for() -> None:
    recipe = Recipe("test", 1, batch_size=16, flip=False)
    assert all((batch.places < COUNT).all() for batch in batches(data(), recipe, draws()))


def test_a_batch_is_no_larger_than_the_data() -> None:
    (batch,) = batches(data(), Recipe("test", 1, batch_size=1000), draws())
    assert len(batch.labels) == COUNT

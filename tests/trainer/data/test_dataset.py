"""`ImageDataset`: one split for ever, the test part apart, a fingerprint of every byte."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archpress_trainer.data.dataset import ImageDataset, LabelledImages
from tests.trainer.data.arrays import small_dataset


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_the_split_is_fixed_and_disjoint() -> None:
    dataset = small_dataset()
    first, second = dataset.split(), dataset.split()
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.validation.labels, second.validation.labels)
    train, validation = rows(first.train.images), rows(first.validation.images)
    assert (len(train), len(validation)) == (55, 5)
    assert not train & validation
    whole = torch.from_numpy(dataset.train_images.transpose(0, 3, 1, 2).copy())
    assert train | validation == rows(whole)


def test_labels_stay_with_their_images() -> None:
    dataset = small_dataset()
    known = {
        image.transpose(2, 0, 1).tobytes(): label
        for image, label in zip(dataset.train_images, dataset.train_labels, strict=True)
    }
    parts = dataset.split()
    for part in (parts.train, parts.validation):
        for image, label in zip(part.images, part.labels, strict=True):
            assert known[image.numpy().tobytes()] == label


def test_the_split_depends_on_the_number_of_images_only() -> None:
    labels = np.arange(60)
    dataset = replace(small_dataset(), classes=60, train_labels=labels)
    held_out = dataset.split().validation.labels.tolist()
    # Every record, label and certificate rests on this very choice.
    assert held_out == [8, 12, 28, 44, 50]


def test_the_split_knows_nothing_of_the_test_part() -> None:
    dataset = small_dataset()
    other = replace(
        dataset,
        test_images=np.zeros_like(dataset.test_images),
        test_labels=np.zeros_like(dataset.test_labels),
    )
    mine, theirs = dataset.split(), other.split()
    assert mine.normalisation == theirs.normalisation
    for part in ("train", "validation"):
        assert torch.equal(getattr(mine, part).images, getattr(theirs, part).images)
    seen = rows(mine.train.images) | rows(mine.validation.images)
    assert not seen & rows(dataset.test().images)


def test_normalisation_is_that_of_the_training_images() -> None:
    data = small_dataset().split()
    normal = data.normalisation(data.train.images)
    assert normal.shape == (55, 3, 6, 5)
    assert torch.allclose(normal.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(normal.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-2)


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    dataset = small_dataset()
    images = dataset.train_images.copy()
    images[..., 1] = 9
    data = replace(dataset, train_images=images).split()
    assert data.normalisation(data.train.images).isfinite().all()


def test_a_subset_has_fewer_training_images_only() -> None:
    data = small_dataset().split()
    cut = data.subset(10)
    assert len(cut.train) == 10
    assert rows(cut.train.images) <= rows(data.train.images)
    assert len(cut.validation) == len(data.validation)
    assert len(data.subset(None).train) == len(data.subset(10_000).train) == 55


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60).map(sorted) | st.lists(st.integers(0, 4)),
    st.integers(1, 60),
)
def test_a_subset_has_the_share_of_every_class(labels: list[int], count: int) -> None:
    whole = LabelledImages(
        torch.arange(len(labels)).view(-1, 1, 1, 1), torch.tensor(labels, dtype=torch.int64)
    )
    cut = whole.subset(count)
    assert len(cut) == min(count, len(labels))
    assert cut.images.flatten().tolist() == sorted(cut.images.flatten().tolist())
    for label in set(labels):
        share = labels.count(label) * len(cut) / len(labels)
        found = cut.images[cut.labels == label].flatten().tolist()
        assert abs(len(found) - share) <= 1 + 1e-9
        # Of each class the first.
        assert found == [i for i, other in enumerate(labels) if other == label][: len(found)]


@pytest.mark.parametrize("array", ["train_images", "train_labels", "test_images", "test_labels"])
def test_one_changed_number_changes_the_fingerprint(array: str) -> None:
    dataset = small_dataset()
    changed = getattr(dataset, array).copy()
    changed.flat[-1] = (changed.flat[-1] + 1) % 3
    other: ImageDataset = replace(dataset, **{array: changed})
    assert other.fingerprint != dataset.fingerprint


def test_the_fingerprint_is_of_the_content_not_the_layout() -> None:
    dataset = small_dataset()
    turned = np.asfortranarray(dataset.train_images)
    assert replace(dataset, train_images=turned).fingerprint == dataset.fingerprint
    assert replace(dataset, name="other").fingerprint == dataset.fingerprint
    reshaped = dataset.train_images.reshape(60, 5, 6, 3)
    assert replace(dataset, train_images=reshaped).fingerprint != dataset.fingerprint


def test_the_fingerprint_is_of_the_content_not_the_order() -> None:
    dataset = small_dataset()
    order = np.random.default_rng(0).permutation(len(dataset.train_labels))
    images, labels = dataset.train_images[order], dataset.train_labels[order]
    assert replace(dataset, train_images=images, train_labels=labels).fingerprint == (
        dataset.fingerprint
    )
    # An image with another's label is another data set.
    assert replace(dataset, train_labels=labels).fingerprint != dataset.fingerprint

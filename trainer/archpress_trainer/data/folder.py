"""A user's own data set: a folder of image files, one subfolder per class.

The layout is that of torchvision's `ImageFolder`: `train/<class>/*.png` and `test/<class>/*.png`.
Arrays follow from names and pixels alone, not from the order of a directory or from dates.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archpress_trainer.data.dataset import DatasetError, ImageDataset
from archpress_trainer.error_text import first_line

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Names of image files, in any case; others are passed over, and so are hidden ones."""

MAX_BYTES = 8 * 2**30
"""Most bytes that the images of both parts may take as uint8: all are held in memory."""

_GREY_MODES = ("1", "L", "LA")
_DEEP_MODES = ("F", "I")
_MOST_NAMES = 10


@dataclass(frozen=True)
class _File:
    path: Path
    label: int
    size: tuple[int, int]
    """Width and height, as Pillow has them."""
    is_grey: bool


def load_folder(name: str, root: Path, *, image_size: int | None = None) -> ImageDataset:
    """Return the data set in `root/train/<class>` and `root/test/<class>`.

    Labels number the sorted names of the training classes. The images have one channel if all are
    grey, else three, without transparency. With `image_size`, the largest centred square of each
    is scaled to that side; without, all must have one size.

    Raises:
        DatasetError: Pillow or a folder is missing or may not be read, a file is no image, or the
            images do not fit together; the message names the file, the value and the limit.
    """
    _require_pillow(name)
    try:
        classes = _classes(root)
        parts = {part: _files(root / part, classes) for part in ("train", "test")}
    except OSError as error:
        raise DatasetError(
            f"{error.filename or root}: cannot be read ({error.strerror})"
        ) from error
    files = [*parts["train"], *parts["test"]]
    if image_size is None:
        _check_one_size(files)
    width, height = (image_size, image_size) if image_size else files[0].size
    channels = 1 if all(file.is_grey for file in files) else 3
    total = len(files) * height * width * channels
    if total > MAX_BYTES:
        raise DatasetError(
            f"{root}: {len(files):,} images of {width}x{height} take {total:,} bytes, at most "
            f"{MAX_BYTES:,}: use fewer or smaller images (--image-size)"
        )
    shape = (height, width, channels)
    (train, train_labels), (test, test_labels) = (
        _arrays(parts[part], shape) for part in ("train", "test")
    )
    return ImageDataset(name, len(classes), train, train_labels, test, test_labels)


def _require_pillow(name: str) -> None:
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise DatasetError(
            f"{name} is a folder of images, which needs Pillow: "
            f"install archpress-trainer[datasets] ({error})"
        ) from error


def _classes(root: Path) -> list[str]:
    layout = "the layout is train/<class>/*.png and test/<class>/*.png"
    if not (root / "train").is_dir():
        raise DatasetError(f"{root}: there is no folder train; {layout}")
    if not (root / "test").is_dir():
        raise DatasetError(
            f"{root}: there is no folder test: move some images of each class, say a tenth, from "
            f"train/<class> to test/<class>; they are used for the final measurement only"
        )
    classes = _subfolders(root / "train")
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "none"
        raise DatasetError(
            f"{root / 'train'}: there must be at least 2 folders of classes, there is {found}; "
            f"{layout}"
        )
    unknown = sorted(set(_subfolders(root / "test")) - set(classes))
    if unknown:
        raise DatasetError(
            f"{root / 'test' / unknown[0]}: train has no class {unknown[0]!r}, it has "
            f"{_shortened(classes)}"
        )
    return classes


def _subfolders(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _files(part: Path, classes: list[str]) -> list[_File]:
    found = []
    for label, name in enumerate(classes):
        paths = _image_paths(part / name)
        # A class without test images is measured nowhere, but can be learnt.
        if not paths and part.name == "train":
            raise DatasetError(f"{part / name}: there is no image ({', '.join(SUFFIXES)})")
        found += [_examined(path, label) for path in paths]
    if not found:
        raise DatasetError(f"{part}: no class has an image ({', '.join(SUFFIXES)})")
    return found


def _image_paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    paths = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix())


def _examined(path: Path, label: int) -> _File:
    with _opened(path) as image:
        if image.mode.startswith(_DEEP_MODES):
            raise DatasetError(
                f"{path}: its pixels have more than 8 bits (Pillow's mode {image.mode}); "
                "convert it to 8 bits a channel"
            )
        return _File(path, label, image.size, _is_grey(image))


def _is_grey(image: Image) -> bool:
    palette = image.getpalette("RGB") if image.mode == "P" else None
    if palette is None:
        return image.mode in _GREY_MODES
    return palette[::3] == palette[1::3] == palette[2::3]


def _check_one_size(files: list[_File]) -> None:
    first = files[0]
    for file in files:
        if file.size != first.size:
            (a, b), (c, d) = first.size, file.size
            raise DatasetError(
                f"{first.path} is {a}x{b} (width x height), {file.path} is {c}x{d}: all images "
                "must have one size; --image-size N crops and scales them to N x N"
            )


def _arrays(
    files: list[_File], shape: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images = np.empty((len(files), *shape), dtype=np.uint8)
    for index, file in enumerate(files):
        images[index] = _pixels(file.path, shape)
    return images, np.array([file.label for file in files], dtype=np.int64)


def _pixels(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    height, width, channels = shape
    with _opened(path) as image:
        pixels = image.convert("L" if channels == 1 else "RGB")
        if pixels.size != (width, height):
            pixels = ImageOps.fit(pixels, (width, height), Image.Resampling.BILINEAR)
        return np.asarray(pixels, dtype=np.uint8).reshape(shape)


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """Open an image; whatever Pillow finds wrong with the file is a `DatasetError`."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Pillow's word for a file so large that it may be meant to fill the memory.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # What is odd in a file's metadata does not concern its pixels.
            warnings.simplefilter("ignore", UserWarning)
            with Image.open(path) as image:
                yield image
    except DatasetError:
        raise
    except (
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
        OSError,
        SyntaxError,
        ValueError,
    ) as error:
        raise DatasetError(f"{path}: not a readable image ({first_line(error)})") from error


def _shortened(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more

"""Modules become layers, or are refused with the place and the reason."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from archpress_client import InvalidRequestError, Layer, LayerKind, Network, UnsupportedError
from tests.client.torch_import.modules import CLASSES, NETWORKS, SHAPE, Spelled, head


def test_layers_one_by_one() -> None:
    network = Network.from_torch(NETWORKS["residual"](), SHAPE)
    assert network.classes == CLASSES
    assert list(network.layers[:8]) == [
        # The shortcut stands first in `forward`.
        Layer.conv(8, 1, bias=False, inputs=(-1,)),
        Layer(LayerKind.BATCH_NORM, inputs=(0,)),
        Layer.conv(8, 3, bias=True, inputs=(-1,)),
        Layer(LayerKind.BATCH_NORM, inputs=(2,)),
        Layer(LayerKind.RELU, inputs=(3,)),
        Layer.conv(8, 3, bias=False, inputs=(4,)),
        Layer.conv(8, 1, bias=False, inputs=(5,)),
        Layer(LayerKind.BATCH_NORM, inputs=(6,)),
    ]
    assert network.layers[8] == Layer.add(7, 1)
    assert [layer.kind for layer in network.layers[-2:]] == [
        LayerKind.GLOBAL_AVERAGE_POOL,
        LayerKind.LINEAR,
    ]


MIDDLES: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], LayerKind]] = {
    "view": (lambda x: functional.relu(x).view(x.size(0), -1), LayerKind.RELU),
    "view by size": (lambda x: torch.tanh(x).view(-1, 128), LayerKind.TANH),
    "flatten": (lambda x: functional.silu(x).flatten(1), LayerKind.SILU),
    "reshape": (lambda x: functional.gelu(x).reshape(x.shape[0], 128), LayerKind.GELU),
    "after": (lambda x: functional.relu6(x.flatten(1)), LayerKind.RELU6),
    "clamp": (lambda x: x.clamp(0, 6).flatten(1), LayerKind.RELU6),
    "clamp below": (lambda x: x.clamp(min=0).flatten(1), LayerKind.RELU),
    "in place": (lambda x: x.relu_().contiguous().flatten(1), LayerKind.RELU),
    "hard swish": (lambda x: functional.hardswish(x).flatten(1), LayerKind.HARD_SWISH),
    "leaky": (lambda x: functional.leaky_relu(x, 0.01).flatten(1), LayerKind.LEAKY_RELU),
    "sigmoid": (lambda x: x.sigmoid().flatten(1), LayerKind.SIGMOID),
    "dropout": (lambda x: functional.dropout(x, 0.5, False).flatten(1), LayerKind.DROPOUT),
}


@pytest.mark.parametrize("name", MIDDLES)
def test_spellings(name: str) -> None:
    middle, kind = MIDDLES[name]
    network = Network.from_torch(Spelled(middle), SHAPE)
    assert kind in [layer.kind for layer in network.layers]
    assert len(network.layers) == 5


def test_what_is_changed_in_place_is_read_changed() -> None:
    def middle(maps: torch.Tensor) -> torch.Tensor:
        kept = maps
        functional.relu(maps, inplace=True)
        return (kept + functional.silu(maps)).flatten(1)

    network = Network.from_torch(Spelled(middle), SHAPE)
    kinds = [layer.kind for layer in network.layers]
    relu, add = kinds.index(LayerKind.RELU), kinds.index(LayerKind.ADD)
    assert network.layers[add].inputs == (relu, kinds.index(LayerKind.SILU))


def test_what_is_changed_twice_in_place_is_read_as_it_became() -> None:
    def middle(maps: torch.Tensor) -> torch.Tensor:
        changed = functional.silu(functional.relu_(maps), inplace=True)
        return (maps + changed).flatten(1)

    network = Network.from_torch(Spelled(middle), SHAPE)
    kinds = [layer.kind for layer in network.layers]
    silu = kinds.index(LayerKind.SILU)
    assert network.layers[kinds.index(LayerKind.ADD)].inputs == (silu, silu)


def test_a_view_may_be_changed_where_nobody_reads_the_maps_again() -> None:
    middle = nn.Sequential(nn.Dropout(), nn.Flatten(), nn.ReLU(inplace=True)).eval()
    network = Network.from_torch(Spelled(middle), SHAPE)
    kinds = [LayerKind.DROPOUT, LayerKind.RELU, LayerKind.LINEAR]
    assert [layer.kind for layer in network.layers[3:]] == kinds


class Two(nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Take two."""
        return left + right


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tail = nn.Sequential(nn.Conv2d(3, 4, 3), *head(4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Look at the numbers."""
        found: torch.Tensor = self.tail(images if images.sum() > 0 else -images)
        return found


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.tail = nn.Sequential(*head(3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Use a layer twice."""
        found: torch.Tensor = self.tail(self.convolution(self.convolution(images)))
        return found


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), *head(4))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two."""
        found = self.body(images)
        return found, found.relu()


class Silent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), *head(4))

    def forward(self, images: torch.Tensor) -> None:
        """Return nothing."""
        self.body(images)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tail = nn.Sequential(*head(3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Attend."""
        attended = functional.scaled_dot_product_attention(images, images, images)
        found: torch.Tensor = self.tail(attended)
        return found


class Shifted(nn.Module):
    """Adds a tensor to the images that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.rand(1, 3, 1, 1)
        self.tail = nn.Sequential(nn.Conv2d(3, 4, 3), *head(4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Shift."""
        found: torch.Tensor = self.tail(images + self.shift)
        return found


class Always(nn.Module):
    """Normalises by the images that it sees, in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.tail = nn.Sequential(*head(4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise."""
        norm, maps = self.norm, self.first(images)
        mean, variance = norm.running_mean, norm.running_var
        maps = functional.batch_norm(maps, mean, variance, norm.weight, norm.bias, training=True)
        found: torch.Tensor = self.tail(maps)
        return found


class Folded(nn.Module):
    """Makes each number of the maps a channel."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, out, 1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Fold and convolve."""
        rows = maps.reshape(maps.shape[0], -1, 1, 1)
        found: torch.Tensor = self.convolution(rows)
        return found


def changed_view(maps: torch.Tensor) -> torch.Tensor:
    rows = maps.flatten(1)
    functional.relu_(rows)
    return rows + functional.silu(maps).flatten(1)


def view_of_changed(maps: torch.Tensor) -> torch.Tensor:
    rows = maps.flatten(1)
    functional.relu_(maps)
    return rows


def joined_batches(maps: torch.Tensor) -> torch.Tensor:
    rows = maps.flatten(1).unsqueeze(1)
    return torch.cat([rows, rows], -3).flatten(1)


def ended(*layers: nn.Module, channels: int = 4) -> nn.Module:
    return nn.Sequential(*layers, *head(channels))


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "two inputs": (Two(), r"takes left, right, must take images only"),
    "control flow": (Deciding(), r"cannot be traced: .*data-dependent"),
    "shared weights": (Twice(), r"convolution \(conv2d\): shares convolution\.weight"),
    "two outputs": (Pair(), r"returns 2 values, must return the logits"),
    "no output": (Silent(), r"returns 0 values, must return the logits"),
    "other images": (ended(nn.Conv2d(1, 4, 3)), r"does not run on images of 3x8x8: RuntimeError"),
    "attention": (Attending(), r"\(scaled_dot_product_attention\): cannot be expressed; known are"),
    "layer norm": (ended(nn.Conv2d(3, 4, 3), nn.LayerNorm((4, 6, 6))), r"1 \(layer_norm\): cannot"),
    "dilated": (ended(nn.Conv2d(3, 4, 3, dilation=2)), r"0 \(conv2d\): dilation is \[2, 2\], must"),
    "oblong": (ended(nn.Conv2d(3, 4, (1, 3))), r"kernel is 1x3, must be square"),
    "uneven stride": (
        ended(nn.Conv2d(3, 4, 3, stride=(1, 2))),
        r"stride is \[1, 2\], must be the same",
    ),
    "uneven same": (ended(nn.Conv2d(3, 4, 2, padding="same")), r"'same' of the kernel 2 is uneven"),
    "rounded up": (
        ended(nn.Conv2d(3, 4, 3), nn.MaxPool2d(4, 4, ceil_mode=True)),
        r"ceil_mode is True",
    ),
    "padding left out": (
        ended(nn.Conv2d(3, 4, 3), nn.AvgPool2d(3, padding=1, count_include_pad=False)),
        r"count_include_pad is False, must be True",
    ),
    "uneven adaptive": (
        ended(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(4)),
        r"makes maps of \[4, 4\] from \[6, 6\]; must divide them evenly",
    ),
    "no affine": (
        ended(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)),
        r"weight is computed or",
    ),
    "steep leak": (
        ended(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2)),
        r"negative_slope is 0\.2, must be 0\.01",
    ),
    "approximate": (
        ended(nn.Conv2d(3, 4, 3), nn.GELU("tanh")),
        r"approximate is tanh, must be none",
    ),
    "hard tanh": (ended(nn.Conv2d(3, 4, 3), nn.Hardtanh()), r"min_val is -1\.0, must be 0"),
    "maps for logits": (nn.Sequential(nn.Conv2d(3, 4, 3)), r"returns \[4, 6, 6\] for each image"),
    "nothing": (nn.Sequential(nn.Flatten()), r"does not return what its last layer made"),
    "scaled": (Spelled(lambda x: (2 * x).flatten(1)), r"mul \(mul\): cannot be expressed"),
    "plus a number": (Spelled(lambda x: (x + 1).flatten(1)), r"reads 1, which is no value"),
    "weighted sum": (
        Spelled(lambda x: torch.add(x, x, alpha=2).flatten(1)),
        r"alpha is 2, must be 1",
    ),
    "broadcast": (
        Spelled(lambda x: (x + x.mean((2, 3), keepdim=True)).flatten(1)),
        r"joins the shapes \[8, 4, 4\] and \[8\]",
    ),
    "mean of channels": (
        Spelled(lambda x: x.mean(1).flatten(1), 16),
        r"over the axes \[1\], must be",
    ),
    "joined vectors": (
        Spelled(lambda x: torch.cat([x.flatten(1), x.flatten(1)], 1), 256),
        r"joins vectors that",
    ),
    "joined rows": (
        Spelled(lambda x: torch.cat([x, x], 2).flatten(1), 256),
        r"dim is 2, must be 1",
    ),
    "shuffled": (
        Spelled(lambda x: x.view(-1, 2, 4, 4, 4).transpose(1, 2).flatten(1)),
        r"must be one vector",
    ),
    "softmax in the middle": (
        Spelled(lambda x: x.flatten(1).softmax(1)),
        r"is known at the end only",
    ),
    "softmax over the images": (
        nn.Sequential(nn.Conv2d(3, 4, 3), *head(4), nn.Softmax(dim=0)),
        r"4 \(softmax\): dim is 0, must be 1",
    ),
    "a tensor of the module's own": (Shifted(), r"add \(add\): reads shift, which is no value"),
    "maps folded before a convolution": (
        nn.Sequential(nn.Conv2d(3, 6, 3), Folded(216, 8), *head(8)),
        r"convolution \(conv2d\): reads \[216, 1, 1\], where the layer before makes \[6, 6, 6\]",
    ),
    "maps folded before a mean": (
        Spelled(lambda x: x.reshape(-1, 128, 1, 1).mean((2, 3))),
        r"mean\): reads \[128, 1, 1\], where the layer before makes \[8, 4, 4\]",
    ),
    "a changed view": (Spelled(changed_view), r"changes max_pool2d in place too, which is read"),
    "a view of what changes": (Spelled(view_of_changed), r"changes flatten in place too, which"),
    "images joined": (Spelled(joined_batches), r"makes \[4, 1, 128\], must be \[2, 16, 4, 4\]"),
    "normalised by each batch": (
        Always(),
        r"batch_norm \(batch_norm\): training is True, must be False",
    ),
    "dropout of every evaluation": (
        Spelled(lambda x: functional.dropout(x, 0.5).flatten(1)),
        r"dropout \(dropout\): train is True, must be False",
    ),
    "linear on maps": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(6, 6), *head(4)),
        r"reads maps of \[4, 6, 6\]",
    ),
    "normalised vector": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.BatchNorm1d(144), nn.Linear(144, 4)),
        r"normalises maps that were made a vector",
    ),
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_place_and_the_reason(name: str) -> None:
    module, reason = REFUSED[name]
    with pytest.raises(InvalidRequestError, match=reason) as caught:
        Network.from_torch(module, SHAPE)
    assert caught.value.reason == "INVALID_ARCHITECTURE"
    assert caught.value.violations[0].field == "module"


def test_a_module_stays_as_it_is() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), *head(4))
    module[2].eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    Network.from_torch(module, SHAPE)
    assert [part.training for part in module] == [True, True, False, True, True, True]
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_input_shapes_are_checked() -> None:
    with pytest.raises(InvalidRequestError, match=r"input_shape is \(3, 8\), must be channels"):
        Network.from_torch(nn.Identity(), (3, 8))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match=r"is a int, must be a torch\.nn\.Module"):
        Network.from_torch(5, SHAPE)  # type: ignore[arg-type]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("archpress_client.torch_import")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnxscript.optimizer", None)
    with pytest.raises(
        UnsupportedError, match=r"needs onnxscript.*: pip install 'archpress-client\[torch\]'"
    ):
        Network.from_torch(nn.Identity(), SHAPE)

"""Networks with skips, dense connections and depthwise convolutions, end to end."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn
from torchvision.models import DenseNet, MobileNetV2

from archpress_client import Client, Effort, Event, LogEvent


def densenet() -> nn.Module:
    """Return a small DenseNet for one channel and four classes."""
    net: Any = DenseNet(growth_rate=8, block_config=(2, 2), num_init_features=16, num_classes=4)
    net.features.conv0 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
    net.features.pool0 = nn.Identity()
    module: nn.Module = net
    return module


def mobilenet() -> nn.Module:
    """Return a narrow MobileNetV2 for one channel and four classes."""
    net: Any = MobileNetV2(num_classes=4, width_mult=0.25)
    net.features[0][0] = nn.Conv2d(1, 8, 3, padding=1, bias=False)
    module: nn.Module = net
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet-20", "densenet", "mobilenet-v2"])
def test_a_network_with_joins_is_compressed(target: str, name: str) -> None:
    modules = {"densenet": densenet, "mobilenet-v2": mobilenet}
    model = modules[name]() if name in modules else name
    events: list[Event] = []
    with Client(target) as client:
        covering = {e.name for e in client.info().embeddings if e.covers_joins}
        job = client.compress(model, dataset="tiny", max_params_ratio=0.2, effort=Effort.DRAFT)
        result = job.result(on_event=events.append, timeout_seconds=400)
    assert result.embedding in covering
    assert result.certificate.params_on_bytes <= result.costs_after.params
    assert result.costs_after.params <= 0.2 * result.costs_before.params
    assert result.certificate.accuracy > 0.4
    said = [event.text for event in events if isinstance(event, LogEvent)]
    # A MobileNetV2 has more layers than the space; its search begins at the nearest labelled net.
    assert any("cannot be encoded" in text for text in said) == (name == "mobilenet-v2")

"""A trained network with the batch normalisations that it lacks."""

from __future__ import annotations

import torch
from torch import nn

from archpress_trainer.space.batch_norms import bare_convolutions, with_batch_norms
from archpress_trainer.space.build import Network, build
from archpress_trainer.training.memory import images_at_once


@torch.no_grad()
def batch_normed(network: Network, images: torch.Tensor) -> Network:
    """Return a network, on the CPU, that gives the same and is `with_batch_norms`.

    Each new normalisation takes the statistics of what its convolution gives for the images, and
    undoes with its scale and shift what it does to them. So a training begins about where the
    network is, but at the pace of one with normalisations. A network that has them all comes back
    itself.

    Args:
        network: on the CPU and in evaluation mode.
        images: `(batch, channels, height, width)`, as the network takes them.
    """
    architecture = with_batch_norms(network.architecture)
    if architecture == network.architecture:
        return network
    statistics = _statistics(network, bare_convolutions(network.architecture), images)
    result = build(architecture)
    modules = iter(result.layers)
    for index, before in enumerate(network.layers):
        state = before.state_dict()
        if index not in statistics:
            next(modules).load_state_dict(state)
            continue
        variance, mean = statistics[index]
        bias = state.pop("bias", torch.zeros_like(mean))
        next(modules).load_state_dict(state)
        norm = next(modules)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean - bias)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.copy_(mean)
    return result.eval()


def _statistics(
    network: Network, places: tuple[int, ...], images: torch.Tensor
) -> dict[int, tuple[torch.Tensor, ...]]:
    """Return variance and mean of each channel that the layers at some places give."""
    found: dict[int, list[tuple[torch.Tensor, ...]]] = {place: [] for place in places}

    def note(place: int, given: torch.Tensor) -> None:
        found[place].append(torch.var_mean(given, dim=(0, 2, 3), correction=0))

    handles = [
        network.layers[place].register_forward_hook(
            lambda _, __, given, place=place: note(place, given)
        )
        for place in places
    ]
    batches = images.split(images_at_once(network))
    try:
        for batch in batches:
            network(batch)
    finally:
        for handle in handles:
            handle.remove()
    shares = torch.tensor([len(batch) / len(images) for batch in batches]).view(-1, 1)
    return {place: _pooled(parts, shares) for place, parts in found.items()}


def _pooled(
    parts: list[tuple[torch.Tensor, ...]], shares: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Return variance and mean of all images from those of batches with their shares of them."""
    variances, means = (torch.stack(values) for values in zip(*parts, strict=True))
    mean = (shares * means).sum(dim=0)
    return (shares * (variances + (means - mean) ** 2)).sum(dim=0), mean

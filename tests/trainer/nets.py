"""Random and small networks that the trainer's tests share."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from random import Random

from archpress_trainer.space.architecture_space import (
    ArchitectureSpace,
    paper_space,
    residual_space,
)
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layer import INPUT, Layer
from archpress_trainer.space.layers import (
    add,
    batch_norm,
    concat,
    conv,
    global_average_pool,
    linear,
    max_pool,
    relu,
)
from archpress_trainer.space.paper_sampler import PaperSampler
from archpress_trainer.space.practical_sampler import PracticalSampler
from archpress_trainer.space.residual_sampler import ResidualSampler
from archpress_trainer.space.sampling import Sample, Sampler, draw
from archpress_trainer.space.vocab import LayerKind

INPUT_SHAPE = (1, 12, 12)
CLASSES = 4
SPACE = ArchitectureSpace(INPUT_SHAPE, CLASSES)
RESIDUAL_SPACE = residual_space(INPUT_SHAPE, CLASSES)


def small_net(width: int = 8, classes: int = CLASSES, *, second: int | None = None) -> Architecture:
    """Return a chain of two blocks for 12x12 images, the second twice as wide unless it is told."""
    layers = (
        conv(width, 3),
        batch_norm(),
        relu(),
        max_pool(),
        conv(second or 2 * width, 3),
        batch_norm(),
        relu(),
        global_average_pool(),
        linear(classes),
    )
    return Architecture(INPUT_SHAPE, classes, layers)


def samplers(input_shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10) -> list[Sampler]:
    """Return a sampler of each kind."""
    return [
        PracticalSampler(ArchitectureSpace(input_shape, classes)),
        ResidualSampler(residual_space(input_shape, classes)),
        PaperSampler(paper_space(input_shape, classes)),
    ]


def sampled(sampler: Sampler, count: int, seed: int = 0) -> list[Sample]:
    """Return the first samples of a sampler."""
    return list(islice(draw(sampler, Random(seed)), count))


def chains(count: int, seed: int = 0) -> list[Architecture]:
    """Return sampled chains of `SPACE`."""
    return [sample.architecture for sample in sampled(PracticalSampler(SPACE), count, seed)]


def residual_nets(count: int, seed: int = 0) -> list[Architecture]:
    """Return sampled nets of `RESIDUAL_SPACE`."""
    drawn = sampled(ResidualSampler(RESIDUAL_SPACE), count, seed)
    return [sample.architecture for sample in drawn]


def residual_net(width: int = 8) -> Architecture:
    """Return a net for 12x12 images with an identity skip, a projection and a depthwise block."""
    layers = (
        *(conv(width, 3), batch_norm(), relu()),
        *(conv(width, 3), batch_norm(), relu(), conv(width, 3), batch_norm(), add(2, 7), relu()),
        *(conv(2 * width, 3, stride=2), batch_norm()),
        *(conv(2 * width, 1, stride=2, inputs=(9,)), batch_norm(), add(11, 13), relu()),
        *(conv(2 * width, 3, groups=2 * width), batch_norm(), relu(), concat(15, 18)),
        *(global_average_pool(), linear(CLASSES)),
    )
    return Architecture(INPUT_SHAPE, CLASSES, layers)


def without_norms(architecture: Architecture) -> Architecture:
    """Return the network as an exporter leaves it, without batch normalisations."""
    layers: list[Layer] = []
    place = {INPUT: INPUT}
    for index, layer in enumerate(architecture.layers):
        inputs = tuple(place[source] for source in layer.inputs)
        if layer.kind is LayerKind.BATCH_NORM:
            place[index] = inputs[0]
            continue
        layers.append(replace(layer, inputs=inputs, bias=None))
        place[index] = len(layers) - 1
    return Architecture(architecture.input_shape, architecture.classes, tuple(layers))


def random_dag(rng: Random) -> Architecture:
    """Return a random network with branches, sums and concatenations on a 3x8x8 input."""
    input_shape, classes = (3, 8, 8), rng.randint(2, 5)
    layers: list[Layer] = []
    shapes: dict[int, tuple[int, int]] = {INPUT: (3, 8)}
    for index in range(rng.randint(1, 9)):
        layer, shape = _random_layer(rng, shapes)
        layers.append(layer)
        shapes[index] = shape
    read = {source for layer in layers for source in layer.inputs}
    ends = []
    for index in [index for index in range(len(layers)) if index not in read]:
        layers.append(replace(global_average_pool(), inputs=(index,)))
        ends.append(len(layers) - 1)
    if len(ends) > 1:
        layers.append(concat(*ends))
    layers.append(linear(classes))
    return Architecture(input_shape, classes, tuple(layers))


def _random_layer(rng: Random, shapes: dict[int, tuple[int, int]]) -> tuple[Layer, tuple[int, int]]:
    source = rng.choice(list(shapes))
    channels, side = shapes[source]
    same_side = [node for node, shape in shapes.items() if shape[1] == side]
    same_shape = [node for node in same_side if shapes[node] == shapes[source]]
    way = rng.random()
    if way < 0.2:
        other = rng.choice(same_shape)
        return add(source, other), (channels, side)
    if way < 0.4:
        others = [rng.choice(same_side) for _ in range(rng.randint(1, 2))]
        return concat(source, *others), (channels + sum(shapes[o][0] for o in others), side)
    if way < 0.65:
        width, stride = rng.choice((4, 4, 6)), rng.choice((1, 1, 2)) if side > 1 else 1
        layer = conv(width, rng.choice((1, 3)), stride=stride, inputs=(source,))
        return layer, (width, (side - 1) // stride + 1)
    if way < 0.75 and side > 1:
        return replace(max_pool(), inputs=(source,)), (channels, side // 2)
    if way < 0.88:
        return batch_norm(inputs=(source,)), (channels, side)
    return replace(relu(), inputs=(source,)), (channels, side)


def reordered(architecture: Architecture, rng: Random) -> Architecture:
    """Return the same network with its layers listed in a random topological order."""
    placed: dict[int, int] = {INPUT: INPUT}
    layers: list[Layer] = []
    waiting = list(range(len(architecture.layers)))
    while waiting:
        ready = [i for i in waiting if all(s in placed for s in architecture.layers[i].inputs)]
        chosen = rng.choice(ready)
        waiting.remove(chosen)
        layer = architecture.layers[chosen]
        layers.append(replace(layer, inputs=tuple(placed[s] for s in layer.inputs)))
        placed[chosen] = len(layers) - 1
    return Architecture(architecture.input_shape, architecture.classes, tuple(layers))

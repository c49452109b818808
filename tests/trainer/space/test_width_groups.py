"""Width groups: what sums tie, concatenations add and the ends of a network hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import add, concat, conv, global_average_pool, linear, relu
from archpress_trainer.space.named import named
from archpress_trainer.space.width_groups import WidthGroups
from tests.trainer.nets import chains, residual_net, residual_nets

TAIL = (global_average_pool(), linear(3))


def test_each_layer_of_a_chain_but_the_last_is_free() -> None:
    groups = WidthGroups(named("conv-7", (1, 28, 28), 10))
    assert groups.widths == [40, 64, 64, 128, 128, 128, 240]
    assert all(len(places) == 1 for places in groups.places)


def test_sums_tie_what_they_add() -> None:
    groups = WidthGroups(residual_net(8))
    # The stem and the first body's end; its middle; the strided body and its projection.
    assert groups.places == ((0, 6), (3,), (10, 12))
    assert groups.widths == [8, 8, 16]


def test_depthwise_layers_follow_and_concatenations_add_up() -> None:
    wider = WidthGroups(residual_net(8)).with_widths([24, 40, 56])
    assert [wider.layers[i].out_channels for i in (0, 3, 6, 10, 12)] == [24, 40, 24, 56, 56]
    assert (wider.layers[16].groups, wider.layers[16].out_channels) == (56, 56)
    assert wider.shapes[19][0] == 112


def test_resnet_20_has_a_group_per_stage_and_one_inside_each_block() -> None:
    groups = WidthGroups(named("resnet-20", (3, 32, 32), 10))
    assert len(groups.places) == 3 + 9
    assert sorted(map(len, groups.places)) == [1] * 9 + [4, 4, 4]


def test_a_sum_with_the_input_holds_the_width() -> None:
    net = Architecture((2, 8, 8), 3, (conv(2, 3), add(-1, 0), conv(8, 3), *TAIL))
    assert WidthGroups(net).places == ((2,),)


def test_a_sum_of_unlike_concatenations_holds_their_widths() -> None:
    layers = (conv(8, 3), conv(8, 3), concat(0, 1), conv(16, 3), add(2, 3), conv(4, 3), *TAIL)
    groups = WidthGroups(Architecture((2, 8, 8), 3, layers))
    assert groups.places == ((5,),)
    assert groups.with_widths([12]).layers[5].out_channels == 12


def test_sums_of_like_concatenations_are_tied_pairwise() -> None:
    layers = (
        *(conv(8, 3), conv(4, 3), concat(0, 1)),
        *(conv(8, 3, inputs=(0,)), conv(4, 3), concat(3, 4), add(2, 5), *TAIL),
    )
    groups = WidthGroups(Architecture((2, 8, 8), 3, layers))
    assert groups.places == ((0, 3), (1, 4))


def test_the_classes_hold_what_a_final_average_passes_on() -> None:
    net = Architecture((2, 8, 8), 3, (conv(8, 3), relu(), conv(3, 1), global_average_pool()))
    assert WidthGroups(net).places == ((0,),)


def test_the_same_widths_give_the_same_network() -> None:
    for net in [*chains(20), *residual_nets(40)]:
        groups = WidthGroups(net)
        assert groups.with_widths(groups.widths) == net
        channels = groups.channels(groups.widths)
        flows = [channels[slot] for slot in groups.slots[1:]]
        assert flows == [shape[0] for shape in net.shapes]


def test_groups_must_divide() -> None:
    net = Architecture((4, 8, 8), 3, (conv(8, 3, groups=4), conv(8, 3), linear(3)))
    groups = WidthGroups(net)
    assert groups.with_widths((8, 24)).layers[1] == replace(net.layers[1], out_channels=24)
    with pytest.raises(ArchitectureError, match=r"groups 4 must divide"):
        groups.with_widths((6, 8))

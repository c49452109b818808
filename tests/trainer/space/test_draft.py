"""Drafts: layers in, out and changed, with who reads whom kept right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archpress_trainer.space.draft import Draft
from archpress_trainer.space.errors import ArchitectureError
from archpress_trainer.space.graph import Architecture
from archpress_trainer.space.layers import batch_norm, conv, dropout, linear, max_pool, relu
from archpress_trainer.space.vocab import LayerKind
from tests.trainer.nets import chains, residual_net, residual_nets, small_net

FOLLOWERS = frozenset({LayerKind.BATCH_NORM, LayerKind.RELU})


def test_an_unchanged_draft_is_its_network() -> None:
    for net in [*chains(20), *residual_nets(40), residual_net()]:
        assert Draft(net).built() == net


def test_drafts_of_a_network_are_changed_each_for_itself() -> None:
    net = small_net()
    first, second = Draft(net), Draft(net)
    first.change(0, kernel=5, padding=2)
    first.insert(1, [relu()])
    assert second.built() == Draft(net).built() == net


def test_a_draft_keeps_biases_that_are_not_the_usual() -> None:
    plain, normed = replace(conv(8, 3), bias=False), replace(conv(8, 3), bias=True)
    layers = (plain, relu(), normed, batch_norm(), linear(4))
    net = Architecture((1, 12, 12), 4, layers)
    assert Draft(net).built() == net
    assert [layer.bias for layer in net.layers][::2] == [False, True, True]


def test_who_read_a_layer_reads_what_is_put_behind_it() -> None:
    draft = Draft(residual_net())
    draft.insert(3, [dropout(0.2), relu()])
    net = draft.built()
    # The skip over the first body starts behind the new layers too.
    assert net.layers[3].inputs == (2,)
    assert net.layers[5].inputs == (4,)
    assert net.layers[10].inputs == (4, 9)
    assert net.layers[14].inputs == (11,)


def test_a_layer_that_goes_leaves_its_readers_to_the_one_before() -> None:
    draft = Draft(residual_net())
    assert draft.remove(2, 3)
    net = draft.built()
    assert net.layers[7].inputs == (1, 6)
    assert draft.built().layers[2].inputs == (1,)


def test_layers_that_are_read_inside_cannot_go() -> None:
    draft = Draft(residual_net())
    before = list(draft.layers)
    assert not draft.remove(2, 5)
    assert draft.layers == before


def test_a_block_of_a_chain_is_a_layer_with_its_followers() -> None:
    draft = Draft(small_net())
    assert draft.block(0, FOLLOWERS) == (0, 3)
    assert draft.block(4, FOLLOWERS) == (4, 7)
    assert draft.block(4, frozenset()) == (4, 5)


def test_a_block_under_a_skip_is_all_of_it() -> None:
    draft = Draft(residual_net())
    assert draft.block(3, FOLLOWERS) == draft.block(6, FOLLOWERS) == (3, 10)
    assert draft.block(12, FOLLOWERS) == (10, 16)
    assert draft.block(0, FOLLOWERS) == (0, 3)


def test_a_copied_block_keeps_its_skip() -> None:
    draft = Draft(residual_net())
    draft.insert(9, draft.layers[3:9], origin=3)
    net = draft.built()
    assert net.layers[8].kind is LayerKind.ADD
    assert net.layers[14].inputs == (8, 13)


def test_sums_and_depthwise_layers_follow_a_change_of_width() -> None:
    draft = Draft(residual_net(8))
    draft.change(0, out_channels=24)
    draft.change(12, out_channels=40)
    net = draft.built()
    assert net.layers[6].out_channels == 24
    assert (net.layers[10].out_channels, net.layers[12].out_channels) == (16, 16)
    draft.change(10, out_channels=32)
    net = draft.built()
    assert (net.layers[12].out_channels, net.layers[16].groups) == (32, 32)


def test_layers_that_do_not_fit_make_no_network() -> None:
    draft = Draft(residual_net())
    draft.insert(5, [max_pool()])
    with pytest.raises(ArchitectureError):
        draft.built()

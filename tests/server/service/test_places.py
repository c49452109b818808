"""How many calls of one kind run at one time."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from archpress_server.service.errors import BusyError
from archpress_server.service.places import Places


def test_one_principal_leaves_places_to_others() -> None:
    places = Places("dances", 3, 2)
    with ExitStack() as held:
        for principal in ("alice", "alice"):
            held.enter_context(places.taken(principal))
        with (
            pytest.raises(BusyError, match=r"^2 of your dances are under way, which is the most"),
            places.taken("alice"),
        ):
            pass
        held.enter_context(places.taken("bob"))
        with pytest.raises(BusyError, match=r"^3 dances are under way"), places.taken("carol"):
            pass
    with places.taken("alice"), places.taken("alice"):
        pass


def test_callers_without_a_name_share_all_places() -> None:
    places = Places("dances", 2, 1)
    with places.taken(""), places.taken(""):
        with pytest.raises(BusyError, match=r"^2 dances are under way"), places.taken(""):
            pass
        assert not places._taken["alice"]
    assert not places._taken

"""Withdrawal in the registry: for good, once, and never without a word about who stages from then on."""

from __future__ import annotations

import pytest

from gtr_batch.domain.lifecycle import Approval
from gtr_batch.errors import GovernanceRefused, InputRefused
from gtr_batch.governance.promotion import before, promote, to_shadow
from gtr_batch.governance.registry import adopt, register_artefact
from gtr_batch.governance.withdrawal import affected, withdraw

WHO = {"by": "Ada", "why": "trained on the wrong labels"}


@pytest.fixture
def champion(registry, models, artefacts, versions) -> str:
    """`old` was champion, `new` is."""
    old = adopt(registry, models, artefacts["old"], by="Ada", why="it stages since May")
    promote(registry, versions["new"], Approval(versions["new"], old, "Eve", "better"), without_gate=True)
    return versions["new"]


def test_the_withdrawn_champion_and_its_successor_change_places_in_one_step(registry, versions, champion):
    withdraw(registry, champion, shown=champion, successor=versions["old"], **WHO)

    assert (registry.champion(), registry.state(champion)) == (versions["old"], "withdrawn")
    assert [e.why for e in registry.history(champion)][-1] == WHO["why"]
    assert before(registry) is None


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, "name the model that stages from now on"),
        ({"successor": "old", "no_successor": True}, "name the model that stages from now on"),
        ({"successor": "new"}, "cannot succeed itself"),
        ({"successor": "third"}, "no passed gate"),
    ],
)
def test_a_champion_is_not_withdrawn_without_one_clear_word_about_its_successor(
    registry, versions, champion, how, said
):
    named = {k: versions.get(v, v) for k, v in how.items()}

    with pytest.raises(GovernanceRefused, match=said):
        withdraw(registry, champion, shown=champion, **named, **WHO)

    assert registry.champion() == champion


def test_who_was_shown_another_champion_withdraws_nothing(registry, versions, champion):
    with pytest.raises(GovernanceRefused, match=f"shown was {versions['old'][:12]}; nothing is changed"):
        withdraw(registry, champion, shown=versions["old"], no_successor=True, **WHO)

    assert registry.champion() == champion


def test_a_withdrawn_model_never_comes_back(registry, models, artefacts, versions, champion):
    withdraw(registry, versions["third"], shown=champion, **WHO)

    with pytest.raises(GovernanceRefused, match="was withdrawn already, by Ada on"):
        withdraw(registry, versions["third"], shown=champion, **WHO)
    with pytest.raises(GovernanceRefused, match="does not come back"):
        to_shadow(registry, versions["third"], **WHO)
    with pytest.raises(GovernanceRefused, match="not registered again"):
        register_artefact(registry, models, artefacts["third"], **WHO)
    with pytest.raises(GovernanceRefused, match="does not come back"):
        promote(registry, versions["third"], Approval(versions["third"], champion, "Eve", "b"), without_gate=True)


def test_a_model_that_is_not_champion_needs_no_successor(registry, versions, champion):
    with pytest.raises(GovernanceRefused, match="needs no word about a successor"):
        withdraw(registry, versions["third"], shown=champion, successor=versions["old"], **WHO)

    assert registry.state(versions["third"]) == "candidate"


def test_reports_of_a_model_that_staged_nothing_are_none_and_of_an_unknown_one_are_refused(registry, champion):
    assert affected(registry, champion) == []
    with pytest.raises(InputRefused, match="not registered"):
        affected(registry, "f" * 64)

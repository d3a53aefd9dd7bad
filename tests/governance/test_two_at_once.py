"""Two people at two terminals: whatever they do at the same moment, one of them is first and the other is told."""

from __future__ import annotations

import threading

import pytest

from gtr_batch.domain.lifecycle import Approval
from gtr_batch.errors import GovernanceRefused
from gtr_batch.governance.promotion import promote, rollback, to_shadow
from gtr_batch.governance.registry import adopt, register_artefact
from gtr_batch.governance.withdrawal import withdraw


@pytest.fixture
def champion(registry, models, artefacts, versions) -> str:
    """`old` is the champion; the gate passed the two others against it."""
    version = adopt(registry, models, artefacts["old"], by="Ada", why="it stages since May")
    for name in ("new", "third"):
        registry.attach(versions[name], "gate", {"verdict": "pass", "champion": version}, by="gate")
    return version


def at_once(*actions) -> list[str]:
    """Do all at the same moment; returns ``won`` or the sentence of the refusal for each, in order."""
    together, outcomes = threading.Barrier(len(actions)), [""] * len(actions)

    def act(number, action):
        together.wait()
        try:
            action()
            outcomes[number] = "won"
        except GovernanceRefused as err:
            outcomes[number] = str(err)

    threads = [threading.Thread(target=act, args=job) for job in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def one_won(outcomes) -> bool:
    return outcomes.count("won") == 1


def champion_events(registry) -> list[str]:
    return [e.version for e in registry.champion_events() if e.to_state == "champion"]


@pytest.mark.parametrize("attempt", range(5))
def test_two_people_who_approve_the_same_model_promote_it_once(registry, second_session, versions, champion, attempt):
    new = versions["new"]

    outcomes = at_once(
        lambda: promote(registry, new, Approval(new, champion, "Eve", "better")),
        lambda: promote(second_session, new, Approval(new, champion, "Bob", "better")),
    )

    assert one_won(outcomes), outcomes
    assert champion_events(registry) == [champion, new]
    assert [e.action for e in registry.history(new)] == ["register", "promote"]


@pytest.mark.parametrize("attempt", range(5))
def test_two_rollbacks_at_once_go_back_one_step(registry, second_session, versions, champion, attempt):
    promote(registry, versions["new"], Approval(versions["new"], champion, "Eve", "better"))

    outcomes = at_once(
        lambda: rollback(registry, by="Eve", why="T4 missed", shown=versions["new"]),
        lambda: rollback(second_session, by="Bob", why="T4 missed", shown=versions["new"]),
    )

    assert one_won(outcomes), outcomes
    assert registry.champion() == champion
    assert champion_events(registry) == [champion, versions["new"], champion]


@pytest.mark.parametrize("attempt", range(5))
def test_a_model_is_not_promoted_and_withdrawn_at_once(registry, second_session, versions, champion, attempt):
    new = versions["new"]

    outcomes = at_once(
        lambda: promote(registry, new, Approval(new, champion, "Eve", "better")),
        lambda: withdraw(second_session, new, by="Bob", why="trained on the wrong labels", shown=champion),
    )

    assert one_won(outcomes), outcomes
    assert (registry.champion(), registry.state(new)) in ((new, "champion"), (champion, "withdrawn"))


@pytest.mark.parametrize("attempt", range(5))
def test_of_a_rollback_and_a_withdrawal_of_the_champion_one_happens(
    registry, second_session, versions, champion, attempt
):
    new = versions["new"]
    promote(registry, new, Approval(new, champion, "Eve", "better"))

    outcomes = at_once(
        lambda: rollback(registry, by="Eve", why="T4 missed", shown=new),
        lambda: withdraw(second_session, new, by="Bob", why="T4 missed", shown=new, successor=champion),
    )

    assert one_won(outcomes), outcomes
    assert registry.champion() == champion
    assert registry.state(new) in ("retired", "withdrawn")


def test_the_same_artefact_registered_at_once_is_there_once(registry, second_session, models, artefacts):
    outcomes = at_once(
        lambda: register_artefact(registry, models, artefacts["new"], by="Eve", why="a test"),
        lambda: register_artefact(second_session, models, artefacts["new"], by="Bob", why="a test"),
    )

    assert outcomes == ["won", "won"]
    (model,) = registry.all()
    assert len(registry.history(model.version)) == 1
    assert [p.name for p in models.iterdir()] == [model.version]


def test_two_who_send_a_model_into_shadow_send_it_once(registry, second_session, versions, champion):
    outcomes = at_once(
        lambda: to_shadow(registry, versions["new"], by="Eve", why="let us see"),
        lambda: to_shadow(second_session, versions["new"], by="Bob", why="let us see"),
    )

    assert one_won(outcomes), outcomes
    assert registry.state(versions["new"]) == "shadow"

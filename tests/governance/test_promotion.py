"""Promotion and rollback: nothing without a person, nothing twice, nothing half, one winner."""

from __future__ import annotations

import shutil
import threading

import pytest

from gtr_batch.domain.lifecycle import Approval
from gtr_batch.errors import GovernanceRefused, ModelArtefactError
from gtr_batch.governance.promotion import before, promote, retire, rollback, to_shadow
from gtr_batch.governance.registry import adopt


@pytest.fixture
def champion(registry, models, artefacts, versions) -> str:
    """`old` is the champion."""
    return adopt(registry, models, artefacts["old"], by="Ada", why="it stages since May")


def pass_gate(registry, version, champion, verdict="pass"):
    registry.attach(version, "gate", {"verdict": verdict, "champion": champion}, by="gate")


def approve(registry, version, by="Eve"):
    pass_gate(registry, version, registry.champion())
    promote(registry, version, Approval(version, registry.champion(), by, "better on the holdout"))


def states(registry, versions):
    return {name: registry.state(version) for name, version in versions.items()}


def test_a_promotion_retires_the_champion_and_records_who_approved(registry, versions, champion):
    to_shadow(registry, versions["new"], by="Ada", why="let us see")

    approve(registry, versions["new"], by="Eve")

    assert states(registry, versions) == {"old": "retired", "new": "champion", "third": "candidate"}
    last = registry.history(versions["new"])[-1]
    assert (last.action, last.by_whom, last.from_state) == ("promote", "Eve", "shadow")


def test_approving_another_version_than_the_one_shown_promotes_nothing(registry, versions, champion):
    pass_gate(registry, versions["new"], champion)

    with pytest.raises(GovernanceRefused, match=versions["third"][:12]):
        promote(registry, versions["new"], Approval(versions["third"], champion, "Eve", "better"))

    assert states(registry, versions) == {"old": "champion", "new": "candidate", "third": "candidate"}


def test_approving_twice_is_refused_and_says_who_did_it_first(registry, versions, champion):
    approve(registry, versions["new"], by="Eve")

    with pytest.raises(GovernanceRefused, match=r"champion already: Eve approved it on \d{4}-"):
        promote(registry, versions["new"], Approval(versions["new"], champion, "Bob", "better"))

    assert len(registry.history(versions["new"])) == 2


def test_an_approval_that_showed_another_champion_is_stale(registry, versions, champion):
    approve(registry, versions["third"])
    pass_gate(registry, versions["new"], champion)

    with pytest.raises(GovernanceRefused, match=f"by now it is {versions['third'][:12]}"):
        promote(registry, versions["new"], Approval(versions["new"], champion, "Eve", "better"))

    assert registry.champion() == versions["third"]


def test_a_gate_that_said_fail_is_never_overruled(registry, versions, champion):
    pass_gate(registry, versions["new"], champion, "fail")

    with pytest.raises(GovernanceRefused, match="no approval overrules"):
        promote(registry, versions["new"], Approval(versions["new"], champion, "Eve", "I like it"), without_gate=True)

    assert registry.champion() == champion


@pytest.mark.parametrize("verdict", ["cannot tell", None])
def test_without_a_passed_gate_only_a_person_who_says_so_promotes(registry, versions, champion, verdict):
    registry.attach(versions["new"], "gate", {"verdict": verdict, "champion": champion}, by="gate")
    approval = Approval(versions["new"], champion, "Eve", "few patients")

    with pytest.raises(GovernanceRefused, match="no passed gate"):
        promote(registry, versions["new"], approval)
    promote(registry, versions["new"], approval, without_gate=True)

    assert registry.history(versions["new"])[-1].why == "few patients (without a passed gate)"


def test_who_would_have_answered_for_it_need_not_where_the_gate_passed_meanwhile(registry, versions, champion):
    """Asked while the gate could not tell; judged again, after nights in shadow, it passed; then approved."""
    pass_gate(registry, versions["new"], champion, "cannot tell")
    pass_gate(registry, versions["new"], champion, "pass")

    promote(registry, versions["new"], Approval(versions["new"], champion, "Eve", "better"), without_gate=True)

    assert registry.history(versions["new"])[-1].why == "better"


def test_a_gate_passed_against_another_champion_does_not_count(registry, versions, champion):
    pass_gate(registry, versions["new"], champion)
    approve(registry, versions["third"])

    with pytest.raises(GovernanceRefused, match="no passed gate"):
        promote(registry, versions["new"], Approval(versions["new"], versions["third"], "Eve", "better"))


def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(registry, second_session, versions, champion):
    for name in ("new", "third"):
        pass_gate(registry, versions[name], champion)
    together, outcomes = threading.Barrier(2), []

    def attempt(session, version):
        approval = Approval(version, champion, "Eve", "better")
        together.wait()
        try:
            promote(session, version, approval)
            outcomes.append(("won", version))
        except GovernanceRefused as err:
            outcomes.append(("told", str(err)))

    threads = [
        threading.Thread(target=attempt, args=(registry, versions["new"])),
        threading.Thread(target=attempt, args=(second_session, versions["third"])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    told = dict(outcomes)
    assert set(told) == {"won", "told"}
    assert registry.champion() == told["won"]
    assert "by now" in told["told"]
    assert sorted(states(registry, versions).values()) == ["candidate", "champion", "retired"]


def test_the_lock_decides_where_the_words_came_too_late(registry, second_session, versions, champion):
    """Both sessions have read the same champion; the second change finds another one under the lock."""
    from gtr_batch.domain.lifecycle import Change

    first = [
        Change(champion, "promote", "champion", "retired"),
        Change(versions["new"], "promote", "candidate", "champion"),
    ]
    late = [
        Change(champion, "promote", "champion", "retired"),
        Change(versions["third"], "promote", "candidate", "champion"),
    ]
    registry.change(first, champion=champion, by="Eve", why="better")

    with pytest.raises(GovernanceRefused, match="somebody changed the registry meanwhile"):
        second_session.change(late, champion=champion, by="Bob", why="better")

    assert states(registry, versions) == {"old": "retired", "new": "champion", "third": "candidate"}


def test_a_change_that_fails_half_way_changes_nothing(registry, versions, champion):
    from gtr_batch.domain.lifecycle import Change

    half = [
        Change(champion, "promote", "champion", "retired"),
        Change(versions["new"], "promote", "shadow", "champion"),
    ]

    with pytest.raises(GovernanceRefused, match="is candidate by now"):
        registry.change(half, champion=champion, by="Eve", why="better")

    assert registry.champion() == champion


def test_rollback_brings_the_one_before_back_and_then_goes_further_never_forth(registry, versions, champion):
    approve(registry, versions["new"])
    approve(registry, versions["third"])

    first = rollback(registry, by="Bob", why="too many T4 missed", shown=versions["third"])
    second = rollback(registry, by="Bob", why="this one too", shown=versions["new"])

    assert (first, second) == (versions["new"], champion)
    assert before(registry) is None
    with pytest.raises(GovernanceRefused, match="nothing to go back to"):
        rollback(registry, by="Bob", why="more", shown=champion)
    assert registry.champion() == champion


def test_a_rolled_back_model_can_be_promoted_again(registry, versions, champion):
    approve(registry, versions["new"])
    rollback(registry, by="Bob", why="a scare", shown=versions["new"])

    approve(registry, versions["new"])

    assert registry.champion() == versions["new"]
    assert before(registry) == champion


def test_a_rollback_with_nothing_to_go_back_to_is_refused(registry, versions, champion):
    with pytest.raises(GovernanceRefused, match="first champion"):
        rollback(registry, by="Bob", why="why not", shown=champion)

    assert registry.champion() == champion


def test_a_rollback_of_a_champion_that_is_none_any_more_is_refused(registry, versions, champion):
    approve(registry, versions["new"])

    with pytest.raises(GovernanceRefused, match=f"the champion is {versions['new'][:12]}"):
        rollback(registry, by="Bob", why="a mistake", shown=champion)


def test_a_model_whose_files_are_gone_is_neither_promoted_nor_rolled_back_to(registry, models, versions, champion):
    approve(registry, versions["new"])
    shutil.rmtree(models / champion)
    shutil.rmtree(models / versions["third"])
    pass_gate(registry, versions["third"], versions["new"])

    with pytest.raises(ModelArtefactError, match="are gone"):
        rollback(registry, by="Bob", why="back", shown=versions["new"])
    with pytest.raises(ModelArtefactError, match="are gone"):
        promote(registry, versions["third"], Approval(versions["third"], versions["new"], "Eve", "better"))

    assert states(registry, versions) == {"old": "retired", "new": "champion", "third": "candidate"}


def test_the_champion_is_not_retired_without_a_successor(registry, versions, champion):
    with pytest.raises(GovernanceRefused, match="is the champion"):
        retire(registry, champion, by="Bob", why="tidy")

    retire(registry, versions["third"], by="Bob", why="worse")
    to_shadow(registry, versions["third"], by="Ada", why="a second look")

    assert registry.state(versions["third"]) == "shadow"

"""Which PatientID holds after any number of merges: chains, cycles, and what contradicts what was said before."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gtr_batch.domain.identity import PatientIdentity
from gtr_batch.domain.patient_merge import PatientMerge, contradicts, names_since, surviving


def said(*pairs: str) -> list[PatientMerge]:
    """Merges as ``AB`` (A into B), in the order in which they came."""
    return [
        PatientMerge(PatientIdentity(old), PatientIdentity(new), number) for number, (old, new) in enumerate(pairs, 1)
    ]


def survivor(name: str, *pairs: str) -> str:
    return surviving(said(*pairs), PatientIdentity(name)).patient_id


def test_a_chain_is_followed_to_its_end():
    assert [survivor(name, "AB", "BC") for name in "ABCD"] == ["C", "C", "C", "D"]


def test_a_chain_that_was_told_from_its_end_is_followed_too():
    """B is C already when A becomes B."""
    assert [survivor(name, "BC", "AB") for name in "ABC"] == ["C", "C", "C"]


def test_a_cycle_ends_where_it_was_last_said_to_end():
    assert [survivor(name, "AB", "BA") for name in "AB"] == ["A", "A"]
    assert [survivor(name, "AB", "BC", "CA") for name in "ABC"] == ["A", "A", "A"]


def test_each_name_comes_with_the_merge_that_gave_it():
    names = names_since(said("AB", "XY", "BC"), PatientIdentity("A"))

    assert [(patient.patient_id, merge_id) for patient, merge_id in names] == [("B", 1), ("C", 3)]


def test_the_same_number_of_another_issuer_is_another_patient():
    merges = [PatientMerge(PatientIdentity("1", "clinic"), PatientIdentity("2", "clinic"))]

    assert surviving(merges, PatientIdentity("1", "hospital")).patient_id == "1"
    assert surviving(merges, PatientIdentity("1", "clinic")).patient_id == "2"
    assert surviving(merges, PatientIdentity("1")).patient_id == "2"  # the PACS does not say whose number it is


def test_who_was_merged_into_somebody_else_before_contradicts():
    merge = said("AC")[0]

    assert contradicts(said("AB"), merge)
    assert not contradicts(said("AB", "BC"), merge)  # the same, in fewer words
    assert not contradicts(said("AB", "BA"), merge)  # A is A again
    assert not contradicts([], merge)


PAIRS = st.lists(st.permutations("ABCDE").map(lambda names: names[0] + names[1]), max_size=10)


def taken(pairs: list[str]) -> list[PatientMerge]:
    """Those of these merges that would be taken: none that contradicts one before."""
    found: list[PatientMerge] = []
    for merge in said(*pairs):
        if not contradicts(found, merge):
            found.append(merge)
    return found


@settings(deadline=None)
@given(PAIRS)
def test_whoever_holds_now_is_merged_into_nobody(pairs):
    merges = taken(pairs)

    for name in "ABCDE":
        end = surviving(merges, PatientIdentity(name))
        assert surviving(merges, end) == end


@settings(deadline=None)
@given(PAIRS)
def test_a_case_that_follows_each_merge_ends_where_one_is_that_is_found_later(pairs):
    merges = taken(pairs)
    followed = {name: PatientIdentity(name) for name in "ABCDE"}
    for number in range(1, len(merges) + 1):
        followed = {name: surviving(merges[:number], now) for name, now in followed.items()}

    assert followed == {name: surviving(merges, PatientIdentity(name)) for name in "ABCDE"}


@settings(deadline=None)
@given(PAIRS)
def test_two_that_were_merged_stay_one(pairs):
    merges = taken(pairs)

    assert all(surviving(merges, one.old) == surviving(merges, one.new) for one in merges)


def test_a_thousand_turns_of_a_cycle_are_followed_at_once():
    assert survivor("A", *["AB", "BA"] * 500) == "A"
    assert survivor("A", *["AB", "BA"] * 500, "AB") == "B"

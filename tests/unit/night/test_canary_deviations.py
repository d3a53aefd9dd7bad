"""What a canary is held against: every quantity of the path alone, and the file that it lies in."""

from __future__ import annotations

import math
import re
from zipfile import ZipFile

import attrs
import pytest

from gtr_batch.domain.canary import PROBABILITY, deviations
from gtr_batch.errors import ModelArtefactError
from gtr_batch.night.canary.file import CANARY, read_canary, write_canary
from gtr_batch.night.canary.series import SLICES, draw
from gtr_batch.simulation.demos.demo import ARTEFACT
from gtr_batch.stage import read_version

HEATS = "heat maps of T1 to T4, "


@pytest.fixture(scope="module")
def stored():
    """The canary of the committed artefact."""
    return read_canary(ARTEFACT)


def beyond(recorded, found) -> list[str]:
    return [one.quantity for one in deviations(recorded, found) if one.is_beyond]


def first(values, by: float):
    return (values[0] + by, *values[1:])


def test_the_committed_artefact_has_a_small_canary_of_its_own(stored):
    assert stored.answer.model_version == read_version(ARTEFACT)
    assert len(stored.series) == SLICES
    assert (ARTEFACT / CANARY).stat().st_size < 1_000_000
    assert stored.answer.is_clear
    assert max(stored.answer.heat_of_classes) > 0.5  # there is something to compare


def test_the_recorded_answer_lies_nowhere_away_from_itself(stored):
    found = deviations(stored.answer, stored.answer)

    assert {one.found for one in found} == {0.0}
    assert len(found) == 18


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_version": "f" * 64}, ["model"]),
        ({"slices": ("1.2.3", "1.2.4", "1.2.5")}, ["slices"]),
        ({"intensity": lambda v: first(v, 0.05 * v[0])}, ["intensity"]),
        ({"prepared": lambda v: first(v, 0.1)}, ["prepared slices"]),
        ({"prepared": lambda v: v[:-1]}, ["prepared slices"]),
        ({"locator": lambda v: v + 1}, ["key slice locator"]),
        ({"locator": None}, ["key slice locator"]),
        ({"logits": lambda v: first(v, math.nan)}, ["logits"]),
        ({"logits": lambda v: first(v, math.inf)}, ["logits"]),
        ({"probabilities": lambda v: first(v, 1.1 * PROBABILITY)}, ["probabilities"]),
        ({"t_stage": "T1"}, ["stage"]),
        ({"heat": lambda v: first(v, 0.9)}, ["heat map, 1 - correlation", "heat map, centre"]),
        ({"heat_of_classes": lambda v: v[::-1]}, [HEATS + "1 - correlation", HEATS + "centre"]),
        ({"heat_of_classes": lambda v: (0.0,) * len(v)}, [HEATS + "1 - correlation", HEATS + "centre"]),
        ({"heat_of_classes": lambda v: v[: len(v) // 2]}, [HEATS[:-2]]),
        ({"points": lambda v: v + 2}, ["nomogram points"]),
        ({"nomogram": ()}, ["nomogram"]),
        ({"report": lambda r: attrs.evolve(r, objects=r.objects[:-1])}, ["report objects"]),
        ({"report": lambda r: attrs.evolve(r, concepts=(*r.concepts, "CODE 99 x"))}, ["report concepts"]),
        ({"report": lambda r: attrs.evolve(r, t_stage="")}, ["report stage"]),
        ({"report": lambda r: attrs.evolve(r, probabilities=first(r.probabilities, 0.5))}, ["report probabilities"]),
    ],
)
def test_each_quantity_is_compared_and_named(stored, change, named):
    [(name, value)] = change.items()
    changed = value(getattr(stored.answer, name)) if callable(value) else value

    assert beyond(stored.answer, attrs.evolve(stored.answer, **{name: changed})) == named


def test_a_stage_that_noise_may_turn_is_not_compared_and_its_probabilities_are(stored):
    tie = (0.0, 0.0, 0.49, 0.51) * 3
    recorded = attrs.evolve(stored.answer, slice_probabilities=tie)

    assert not recorded.is_clear
    assert beyond(recorded, attrs.evolve(recorded, t_stage="T1")) == []
    assert beyond(recorded, attrs.evolve(recorded, probabilities=(1.0, 0.0, 0.0, 0.0))) == ["probabilities"]


def test_a_sentence_has_the_numbers(stored):
    found = attrs.evolve(stored.answer, logits=first(stored.answer.logits, 3.0), t_stage="T1")

    said = [one.sentence for one in deviations(stored.answer, found) if one.is_beyond]

    assert re.match(r"logits: 3 away, at most 0\.\d+", said[0])
    assert said[1] == f"stage: T1 instead of {stored.answer.t_stage}"


def test_what_is_written_is_read_and_the_same_again_is_the_same_file(stored, tmp_path):
    digest = write_canary(tmp_path, stored.series, stored.answer)

    read = read_canary(tmp_path)

    assert (read.answer, read.series, read.sha256) == (stored.answer, stored.series, digest)
    assert write_canary(tmp_path, stored.series, stored.answer) == digest


def test_the_series_is_the_same_whenever_it_is_drawn():
    assert draw() == draw()


def test_without_a_file_there_is_none(tmp_path):
    assert read_canary(tmp_path) is None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_that_is_cut_is_refused(tmp_path, share):
    body = (ARTEFACT / CANARY).read_bytes()
    (tmp_path / CANARY).write_bytes(body[: int(len(body) * share)])

    with pytest.raises(ModelArtefactError, match="cannot be read"):
        read_canary(tmp_path)


@pytest.mark.parametrize("spot", [200, 100_000, 250_000])
def test_a_file_in_which_one_bit_is_another_is_refused_or_has_another_digest(stored, tmp_path, spot):
    body = bytearray((ARTEFACT / CANARY).read_bytes())
    body[spot] ^= 1
    (tmp_path / CANARY).write_bytes(body)

    try:
        assert read_canary(tmp_path).sha256 != stored.sha256
    except ModelArtefactError as err:
        assert "canary.zip" in str(err)


@pytest.mark.parametrize("name", ["series/../../outside.dcm", "series/a name.dcm", "answer.txt"])
def test_a_file_that_names_what_is_no_instance_is_refused(stored, tmp_path, name):
    with ZipFile(ARTEFACT / CANARY) as good, ZipFile(tmp_path / CANARY, "w") as bad:
        bad.writestr("answer.json", good.read("answer.json"))
        bad.writestr(name, b"x")

    with pytest.raises(ModelArtefactError, match="no instance"):
        read_canary(tmp_path)

"""One table of facts of a series: whoever fills, keeps, watches, shows or draws a fact has its name from there."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from gtr_batch.audit.monitors import watch
from gtr_batch.audit.report import words
from gtr_batch.config import ValidateConfig
from gtr_batch.domain.reconstruction import KernelKind
from gtr_batch.domain.refusal import REASONS, RefusalCode
from gtr_batch.domain.series_fact import FACTS, UNKNOWN, FactKind, FactMonitor, charted, referred, watched_by
from gtr_batch.domain.staging import FLAG_MEANINGS, Flag
from gtr_batch.simulation.hospital.months import Months, inputs_of, reference_patients
from gtr_batch.simulation.hospital.year import Year, headers_of, operated, quality_of
from gtr_batch.validate import CaseFiles, validate_shard
from tests.phantoms import abdomen_hu, write_series

MONITORED = {fact.name: fact for monitor in FactMonitor for fact in watched_by(monitor)}


@pytest.fixture(scope="module")
def validated(tmp_path_factory) -> dict:
    """The facts of a phantom's series, as validation measures them."""
    folder = tmp_path_factory.mktemp("series")
    paths = write_series(folder / "retrieve", abdomen_hu(24), thickness_mm=5.0)
    case = CaseFiles("c", folder / "retrieve", tuple(sorted(p.stem for p in paths)))
    return dict(validate_shard([case], ValidateConfig(), folder / "docs")["c"].facts)


@pytest.fixture(scope="module")
def simulated() -> dict:
    """The facts of one simulated case."""
    inputs = inputs_of(Months(months=2, reference=300))
    return dict(next(c.facts for c in inputs.cases if c.facts))


@pytest.fixture(scope="module")
def drawn() -> dict:
    """The facts of one patient of the year of phantoms."""
    [one] = operated(Year(patients=1))
    phantom = one.patient.phantom()
    return {**headers_of(one), **quality_of(phantom.volume(), phantom)}


def test_names_are_there_once():
    names = [fact.name for fact in FACTS]

    assert len(names) == len(set(names))


def test_validation_fills_every_watched_fact_that_a_header_must_not_leave_out(validated):
    missing = {name for name, fact in MONITORED.items() if not fact.optional and name not in validated}

    assert missing == set()


def test_validation_fills_no_fact_that_the_table_does_not_know(validated):
    assert set(validated) <= {fact.name for fact in FACTS}


@pytest.mark.parametrize("fact", [fact for fact in FACTS if fact.values], ids=lambda fact: fact.name)
def test_a_fact_of_few_values_has_one_of_them_wherever_it_comes_from(fact, validated, simulated, drawn):
    for facts in (validated, simulated, drawn):
        assert facts.get(fact.name, fact.values[0]) in fact.values


def test_the_year_of_phantoms_draws_only_facts_of_the_table_and_no_watched_one_is_forgotten(drawn):
    assert set(drawn) <= {fact.name for fact in FACTS}
    assert {name for name, fact in MONITORED.items() if not fact.optional} <= set(drawn)


@pytest.mark.parametrize("monitor", list(FactMonitor))
def test_a_monitor_reads_every_fact_that_the_table_gives_it(monitor):
    """Also the dose, which only some scanners tell."""
    inputs = inputs_of(Months(months=4, reference=300))
    told = {"ctdi_vol_mgy": 9.5, "exposure_mas": 120.0}
    inputs = attrs.evolve(
        inputs, cases=tuple(attrs.evolve(c, facts=c.facts and {**c.facts, **told}) for c in inputs.cases)
    )

    [found] = [watched for watched in watch(inputs) if watched.name == str(monitor)]

    assert set(found.detail.readings) == {fact.name for fact in watched_by(monitor)}


def test_the_simulation_draws_only_facts_of_the_table_and_no_watched_one_is_forgotten(simulated):
    names = {fact.name for fact in FACTS}

    assert set(simulated) <= names
    assert {name for name, fact in MONITORED.items() if not fact.optional} <= set(simulated)


def test_a_kernels_kind_has_the_words_of_validation_also_where_it_is_simulated(validated, simulated):
    kinds = {str(kind) for kind in KernelKind}

    assert {validated["kernel_kind"], simulated["kernel_kind"]} <= kinds


def test_a_reference_of_validated_facts_raises_no_alarm_on_a_simulated_month_of_the_same_kernels(simulated):
    """As it did where one said ``soft`` and the other ``soft tissue``."""
    inputs = inputs_of(Months(months=6, reference=300, seed=3))
    as_validated = {**inputs.reference.headers, "kernel_kind": {str(KernelKind.SOFT): 1.0}}
    inputs = attrs.evolve(inputs, reference=attrs.evolve(inputs.reference, headers=as_validated))

    [headers] = [monitor for monitor in watch(inputs) if monitor.name == "headers"]

    assert headers.state == "quiet"


def test_the_reference_holds_what_the_table_says():
    reference = reference_patients(np.random.default_rng(1), Months(months=2, reference=60))

    assert set(reference.headers) == {fact.name for fact in referred(FactKind.NAME)}
    assert set(reference.quality) == {fact.name for fact in referred(FactKind.NUMBER)}


def test_what_is_drawn_has_a_heading():
    assert all(fact.heading for fact in FACTS if fact.chart)
    assert list(words.HEADERS) == [fact.name for fact in charted(FactKind.NAME)]
    assert list(words.QUALITY) == [fact.name for fact in charted(FactKind.NUMBER)]


@pytest.mark.parametrize(("name", "value", "binned"), [
    ("kvp", 120.0, "120"), ("kvp", "120", "120"), ("kvp", None, UNKNOWN), ("pixel_spacing_mm", 0.7422, "0.7 to 0.8"),
    ("pixel_spacing_mm", 0.8, "0.8 to 0.9"), ("pixel_spacing_mm", "", UNKNOWN), ("contrast_agent", True, "True"),
])  # fmt: skip
def test_values_are_binned_as_the_reference_writes_them(name, value, binned):
    [fact] = [fact for fact in FACTS if fact.name == name]

    assert fact.binned(value) == binned


def test_nothing_asks_for_a_dose_that_no_ct_header_holds():
    assert not [fact.name for fact in FACTS if "dlp" in fact.name]


def test_every_refusal_code_has_a_reason_that_a_report_can_carry():
    assert list(REASONS) == list(RefusalCode)
    assert all(len(reason.meaning) <= 64 and len(reason.coded_value) <= 16 for reason in REASONS.values())
    assert len({reason.coded_value for reason in REASONS.values()}) == len(REASONS)
    assert len({reason.meaning for reason in REASONS.values()}) == len(REASONS)


def test_waiting_mends_what_comes_late_and_nothing_of_the_patients_or_the_scans_own():
    mended = {code for code, reason in REASONS.items() if reason.waiting_can_mend}

    assert {
        RefusalCode.NOT_IN_EHR,
        RefusalCode.NO_GASTRIC_ADENOCARCINOMA,
        RefusalCode.SERIES_INCOMPLETE,
        RefusalCode.NO_KEY_SLICE,
    } <= mended
    assert mended.isdisjoint({RefusalCode.PRIOR_CHEMOTHERAPY, RefusalCode.DISTANT_METASTASIS, RefusalCode.GANTRY_TILT})


def test_every_flag_has_a_meaning_that_a_report_can_carry():
    assert list(FLAG_MEANINGS) == list(Flag)
    assert all(len(flag.meaning) <= 64 and len(flag.coded_value) <= 16 for flag in FLAG_MEANINGS.values())
    assert all(flag.words for flag in FLAG_MEANINGS.values())


def test_no_limit_that_a_site_may_set_stands_in_the_words_of_a_refusal():
    assert not [reason.words for reason in REASONS.values() if any(c.isdigit() for c in reason.words + reason.meaning)]

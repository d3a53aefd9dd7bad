"""Descriptions that say that the stomach was operated before the study; a planned operation is none."""

from __future__ import annotations

import pytest

from gtr_batch.domain.series import StudyRecord
from gtr_batch.intake import judge_descriptions
from gtr_batch.intake.words import monoenergetic, operated

OPERATED = [
    "CT abdomen s/p gastrectomy", "S/P total gastrectomy, follow up", "status post distal gastrectomy",
    "Abdomen pv, post-gastrectomy", "postgastrectomy", "post op gastrectomy", "after subtotal gastrectomy",
    "h/o partial gastrectomy", "history of laparoscopic gastrectomy", "remnant stomach", "gastric stump carcinoma?",
    "Billroth II", "CT after esophagogastrectomy", "s/p gastric bypass", "s/p sleeve gastrectomy",
    "Z.n. Gastrektomie", "Zustand nach Magenresektion", "Z. n. subtotaler Gastrektomie", "nach Gastrektomie",
    "St. n. Gastrektomie", "Restmagen", "Magenstumpf", "gastrektomiert",
    "pós-gastrectomia", "status pós gastrectomia total", "pós-operatório de gastrectomia", "gastrectomizado",
    "coto gástrico", "post gastrectomía subtotal", "tras gastrectomía", "muñón gástrico",
    "après gastrectomie totale", "statut post gastrectomie", "moignon gastrique", "esiti di gastrectomia",
    "pregressa gastrectomia", "состояние после гастрэктомии", "胃癌术后", "胃切除术后", "残胃",
    "胃全摘後", "위절제술 후",
]  # fmt: skip
NOT_OPERATED = [
    "CT abdomen portal venous", "gastric cancer staging", "planning gastrectomy", "before gastrectomy",
    "post contrast, pre gastrectomy", "prior to gastrectomy", "vor Gastrektomie", "post contrast stomach",
    "Abdomen nach KM, Magen", "s/p cholecystectomy", "s/p appendectomy, gastric pain", "pre op gastrectomy",
    "pré-operatório gastrectomia", "post chemo, gastrectomy planned", "gastrectomy", "gastroscopy before",
    "status post gastroscopy", "h/o gastritis", "胃癌", "", "after gastric filling", "pos contraste estomago",
]  # fmt: skip


@pytest.mark.parametrize("text", OPERATED)
def test_says_that_the_stomach_was_operated(text: str) -> None:
    assert operated(text)


@pytest.mark.parametrize("text", NOT_OPERATED)
def test_does_not_take_a_plan_or_another_operation_for_one(text: str) -> None:
    assert operated(text) == ""


def test_refuses_the_study_and_repeats_the_matched_words_alone() -> None:
    study = StudyRecord("1.2", "P", description="Jane Doe s/p total gastrectomy 2019")

    refusal = judge_descriptions([("study description", study.description)])

    assert refusal is not None
    assert refusal.code == "prior_gastric_surgery"
    assert "s/p total gastrectomy" in refusal.sentence
    assert "jane" not in repr(refusal).lower()
    assert judge_descriptions([("series description", "Abdomen PV 3.0"), ("study description", "")]) is None


@pytest.mark.parametrize(
    "text", ["VMI 40 keV", "MonoE 40", "Mono+ 40keV", "DE_Monoenergetic Plus 50", "GSI Mono 70keV", "Abdomen 55 keV pv",
             "monochromatic 65", "Mono_40", "MonoE_50keV[HU]"]
)  # fmt: skip
def test_knows_a_virtual_monoenergetic_series_by_its_words(text: str) -> None:
    assert monoenergetic(text)


@pytest.mark.parametrize("text", ["Abdomen pv 120 kV", "abdomen 100 keV", "Monophasic abdomen", "Mon. 3.0", "PV 40 s"])
def test_takes_no_tube_voltage_or_other_word_for_one(text: str) -> None:
    assert monoenergetic(text) == ""

"""The case's page and its encapsulated PDF: what it says, for whom, and that the same case gives the same bytes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import attrs
import numpy as np
import pydicom
import pytest
from pydicom.uid import EncapsulatedPDFStorage
from pydicom.valuerep import PersonName

from gtr_batch.config import ReportConfig
from gtr_batch.domain.clinical import Covariates, Differentiation
from gtr_batch.domain.delivery import ObjectKind, ReportObject
from gtr_batch.domain.staging import FLAG_MEANINGS, Flag, KeySliceSource, StageSet, TStage
from gtr_batch.nomogram import nomogram_of, paper_table_3, score
from gtr_batch.report.page_text import NAME_IN_STUDY, marked_name
from tests.builders import (
    MODEL_VERSION,
    a_geometry,
    a_manifest,
    a_series,
    a_staging,
    a_written_report,
    not_staged,
    page_drawings,
)

SIZE = 16
ONLY_PAGE = ReportConfig(parametric_map=False, secondary_capture=False, key_objects=False, pdf=True)
MODEL = attrs.evolve(a_manifest(), nomogram=paper_table_3())
KNOWN_IN_PART = score(MODEL.nomogram, 0.42, Covariates(tumour_size_cm=5.0, differentiation=Differentiation.POOR))


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return a_series(tmp_path_factory.mktemp("series"), size=SIZE)


@pytest.fixture(scope="session")
def on_page(need_program):
    """The words of a PDF that a dataset holds, and how many pages it has."""
    program = need_program("pdftotext", "poppler-utils")

    def read(ds: pydicom.Dataset) -> tuple[str, int]:
        pdf = ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength]
        said = subprocess.run([program, "-raw", "-", "-"], input=pdf, capture_output=True, check=True).stdout.decode()
        return " ".join(said.split()), said.count("\f")

    return read


def written(folder: Path, series: list[Path], **given: object) -> tuple[ReportObject, pydicom.Dataset]:
    """The encapsulated page of a case."""
    staging = attrs.evolve(a_staging(a_geometry(series)), stage_set=StageSet(TStage.T2, TStage.T3, 0.9))
    answer = {"staging": staging, "manifest": MODEL, "config": ONLY_PAGE, "drawings": page_drawings(SIZE), **given}
    objects = {one.kind: one for one in a_written_report(folder, series, SIZE, **answer)}
    assert set(objects) == {ObjectKind.ENCAPSULATED_PDF, ObjectKind.STRUCTURED_REPORT}
    page = objects[ObjectKind.ENCAPSULATED_PDF]
    return page, pydicom.dcmread(folder / page.file)


def test_the_page_says_whose_answer_what_and_what_it_was_made_of(series, tmp_path, on_page):
    geometry = a_geometry(series, KeySliceSource.AUTOMATIC)
    staging = attrs.evolve(
        a_staging(geometry, flags=(Flag.AUTOMATIC_KEY_SLICE, Flag.NOMOGRAM_DISAGREES)),
        stage_set=StageSet(TStage.T2, TStage.T3, 0.9),
    )
    drawings = page_drawings(SIZE, nomogram_of(MODEL.nomogram, KNOWN_IN_PART))

    _, ds = written(tmp_path, series, staging=staging, geometry=geometry, score=KNOWN_IN_PART, drawings=drawings)
    said, pages = on_page(ds)

    assert pages == 1
    assert said.count("AI result - not verified") == 2  # at the top and at the foot
    assert said.startswith("AI result - not verified")
    assert "Demo" not in said
    source = pydicom.dcmread(series[1])
    for value in ("Phantom, Test", source.PatientID, "1960-01-01", source.AccessionNumber, source.StudyDescription):
        assert value in said
    assert "cT3 probability 0.53 by the network (three slices)" in said
    assert "Likely stages (conformal set): T2-T3 (90%)" in said
    likeliest = KNOWN_IN_PART.probabilities.most_likely
    assert f"of the nomogram: c{likeliest}, {KNOWN_IN_PART.probabilities[likeliest]:.2f}" in said
    assert "Not known to the nomogram: Lauren type" in said
    for flag in (Flag.AUTOMATIC_KEY_SLICE, Flag.NOMOGRAM_DISAGREES):
        assert FLAG_MEANINGS[flag].meaning in said
    assert "Key slice: found automatically, not chosen by a person" in said
    assert re.findall(r"mm: votes (c\w+)", said) == ["cT3", "cT3", "cT2"]
    for word in ("Rad-score (SD)", "Total points", "P(deeper than T3)", f"{KNOWN_IN_PART.points['total']:.0f}"):
        assert word in said
    for uid in (MODEL_VERSION, source.StudyInstanceUID, source.SeriesInstanceUID, *geometry.sop_instance_uids):
        assert str(uid) in said
    assert "window -125 to 225 HU" in said


def test_where_the_nomogram_answers_the_page_counts_its_stage_and_shows_the_networks_beside(series, tmp_path, on_page):
    answer = attrs.evolve(KNOWN_IN_PART, is_primary=True)

    said, _ = on_page(written(tmp_path, series, score=answer)[1])

    assert f"c{answer.probabilities.most_likely} probability" in said
    assert "by the nomogram" in said
    assert "Supporting answer, of the network: cT3, 0.53" in said
    assert "Nomogram: not drawn" in said


def test_a_model_without_a_nomogram_and_without_a_set_says_so_and_a_demo_model_that_it_is_one(
    series, tmp_path, on_page
):
    model = a_manifest(nomogram=None, demo=True)

    said, _ = on_page(written(tmp_path, series, manifest=model, staging=a_staging(a_geometry(series)))[1])

    assert "Nomogram: not available for this model" in said
    assert "(conformal set): not available for this model" in said
    assert "Supporting answer: none" in said
    assert "Flags: none" in said
    assert "Demo model, not for patients" in said


def test_a_case_without_a_stage_has_its_reason_and_no_category(series, tmp_path, on_page):
    staging = not_staged(a_staging(a_geometry(series)))

    said, _ = on_page(written(tmp_path, series, staging=staging)[1])

    assert "Not staged Reason: image unlike those of the model's patients" in said
    assert staging.abstention.sentence in said
    assert not re.search(r"\bc?T[1-4]\b", said.replace("Gastric T stage", ""))
    assert "Nomogram: not used: the case has no stage" in said


def test_the_encapsulation_names_its_sources_and_holds_the_whole_document(series, tmp_path):
    one, ds = written(tmp_path, series)

    assert ds.SOPClassUID == one.sop_class_uid == EncapsulatedPDFStorage
    assert (ds.Modality, ds.BurnedInAnnotation, ds.VerificationFlag) == ("DOC", "YES", "UNVERIFIED")
    assert ds.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert ds.DocumentTitle.startswith("AI result - not verified")
    named = [item.ReferencedSOPInstanceUID for item in ds.SourceInstanceSequence]
    assert named == [pydicom.dcmread(path).SOPInstanceUID for path in series]
    assert len(ds.EncapsulatedDocument) == ds.EncapsulatedDocumentLength + ds.EncapsulatedDocumentLength % 2
    document = ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength]
    assert document.startswith(b"%PDF")
    assert document.rstrip().endswith(b"%%EOF")
    assert not {"HL7InstanceIdentifier", "PredecessorDocumentsSequence"} & {e.keyword for e in ds}


def test_the_same_case_gives_the_same_bytes_whatever_was_drawn_before(series, tmp_path):
    first, _ = written(tmp_path / "a", series)
    written(tmp_path / "other", series, score=KNOWN_IN_PART)
    second, _ = written(tmp_path / "b", series)

    assert first == second
    assert (tmp_path / "a" / first.file).read_bytes() == (tmp_path / "b" / second.file).read_bytes()


def test_a_changed_answer_is_a_page_that_names_the_one_before_and_an_unchanged_one_is_the_same(series, tmp_path):
    first, _ = written(tmp_path, series)
    same, _ = written(tmp_path, series, previous=[first])
    (tmp_path / first.file).unlink()
    again, _ = written(tmp_path, series, previous=[first])

    after, ds = written(tmp_path, series, score=KNOWN_IN_PART, previous=[first])

    assert same == again == first
    assert after.series_uid == first.series_uid
    [study] = ds.PredecessorDocumentsSequence
    [named] = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == first.sop_instance_uid


@pytest.mark.parametrize("slices", [None, np.zeros((3, SIZE, SIZE, 3)), np.zeros((2, SIZE, SIZE, 3), np.uint8)])
def test_a_page_without_its_pictures_is_our_mistake(series, tmp_path, slices):
    drawings = None if slices is None else attrs.evolve(page_drawings(SIZE), slices=slices)

    with pytest.raises(ValueError, match="pictures"):
        written(tmp_path, series, drawings=drawings)


JAPANESE, KOREAN, CHINESE = "HeiseiKakuGo-W5", "HYGothic-Medium", "STSong-Light"
NAMES = {  # PS3.5, Annexes H, I and K, and others
    "Adams^John Robert Quincy^^Rev.^B.A. M.Div.": "Adams, John Robert Quincy Rev. B.A. M.Div.",
    "Buc^Jérôme": "Buc, Jérôme",
    "Люкceмбypг^Иван": "Люкceмбypг, Иван",
    "Διονυσιος": "Διονυσιος",
    "Nguyễn^Văn": "Nguyễn, Văn",
    "O<b>^x&y": "O&lt;b&gt;, x&amp;y",
    "Yamada^Tarou=山田^太郎=やまだ^たろう": (
        f'Yamada, Tarou / <font name="{CHINESE}">山田 太郎</font> / <font name="{JAPANESE}">やまだ たろう</font>'
    ),
    "Hong^Gildong=洪^吉洞=홍^길동": (
        f'Hong, Gildong / <font name="{CHINESE}">洪 吉洞</font> / <font name="{KOREAN}">홍 길동</font>'
    ),
    "王^小东": f'<font name="{CHINESE}">王 小东</font>',
    "قباني^لنزار": NAME_IN_STUDY,
    "שרון^דבורה": NAME_IN_STUDY,
    "สมชาย": NAME_IN_STUDY,
    "Ivanov^\U00020bb7": NAME_IN_STUDY,
    "": "not given",
    "^^": "not given",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_written_in_a_font_that_has_its_characters_or_not_at_all(name):
    source = pydicom.Dataset()
    source.SpecificCharacterSet, source.PatientName = "ISO_IR 192", PersonName(name)

    assert marked_name(source) == NAMES[name]


@pytest.mark.parametrize(("declared", "font"), [("ISO 2022 IR 87", JAPANESE), ("ISO 2022 IR 149", KOREAN)])
def test_an_ideographic_name_is_written_as_the_characters_set_of_its_source_says(declared, font):
    source = pydicom.Dataset()
    source.SpecificCharacterSet, source.PatientName = ["", declared], PersonName("山田^三")

    assert marked_name(source) == f'<font name="{font}">山田 三</font>'


def test_the_longest_name_and_every_flag_stay_on_one_page(tmp_path, on_page):
    name, wide = f"{'W' * 30}^{'X' * 33}", "山" * 64

    def long(index: int, ds: pydicom.Dataset) -> None:
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.PatientName = f"{name}={wide}={'や' * 64}"
        ds.StudyDescription, ds.PatientID, ds.AccessionNumber = "D" * 64, "P" * 64, "A" * 16

    series = a_series(tmp_path / "series", size=SIZE, change=long)
    staging = a_staging(a_geometry(series), flags=tuple(Flag))
    drawings = page_drawings(SIZE, nomogram_of(MODEL.nomogram, KNOWN_IN_PART))

    _, ds = written(tmp_path / "report", series, staging=staging, score=KNOWN_IN_PART, drawings=drawings)
    said, pages = on_page(ds)

    assert pages == 1
    joined = said.replace(" ", "")
    for value in (*name.split("^"), "D" * 64, "P" * 64, "A" * 16):
        assert value in joined
    for flag in Flag:
        assert FLAG_MEANINGS[flag].meaning in said
    assert "Characters in a font of the PDF viewer" in said

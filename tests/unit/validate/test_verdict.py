"""Every reason to refuse a series, spoilt one at a time, judged together as one shard."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from gtr_batch.config import ValidateConfig
from gtr_batch.domain.contrast import Phase
from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.domain.identity import PatientIdentity, SeriesIdentity
from gtr_batch.validate import CaseFiles, Verdict, validate_shard, verdict
from tests.phantoms import abdomen_hu, write_series

SLICES = 9
SMALL = ValidateConfig(min_slices=8, min_coverage_mm=20.0)
Change = Callable[[int, Dataset], None]


SENTENCE = "Jane Doe 19601231 Gastric"


@pytest.fixture(scope="module")
def abdomen() -> np.ndarray:
    return abdomen_hu(SLICES)


def _set(only: int | None = None, **values: object) -> Change:
    """A change that sets header values, of one instance or of all."""

    def change(index: int, ds: Dataset) -> None:
        if only is None or index == only:
            for keyword, value in values.items():
                setattr(ds, keyword, value)

    return change


def _tilt(index: int, ds: Dataset) -> None:
    angle = np.radians(10)
    ds.ImageOrientationPatient = [1, 0, 0, 0, float(np.cos(angle)), float(-np.sin(angle))]
    ds.GantryDetectorTilt = "10"


def _lean(index: int, ds: Dataset) -> None:
    ds.ImagePositionPatient = [ds.ImagePositionPatient[0], ds.ImagePositionPatient[1] + index * 0.5, index * 3.0]


def _turn(index: int, ds: Dataset) -> None:
    ds.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]


def _rewrite(change: Callable[[np.ndarray], np.ndarray], only: int | None = None) -> Change:
    """A change of the pixels, HU in and HU out."""

    def apply(index: int, ds: Dataset) -> None:
        if only is None or index == only:
            image = np.frombuffer(ds.PixelData, "<i2").reshape(ds.Rows, ds.Columns)
            ds.PixelData = change(image.copy()).astype("<i2").tobytes()

    return apply


def _blank(image: np.ndarray) -> np.ndarray:
    image[240:300, 200:320] = 0
    return image


def _stamp(image: np.ndarray) -> np.ndarray:
    image[10:26, 10:60:3] = 3000
    return image


def _halve(index: int, ds: Dataset) -> None:
    if index == 4:
        ds.PixelData = ds.PixelData[: len(ds.PixelData) // 2]


def _no_rescale(index: int, ds: Dataset) -> None:
    del ds.RescaleSlope, ds.RescaleIntercept


def _aside(index: int, ds: Dataset) -> None:
    """Three slices in the middle lie 30 mm beside the others, and the stack ends where it should."""
    x, y, z = ds.ImagePositionPatient
    ds.ImagePositionPatient = [x + 30 * (3 <= index < 6), y, z]


def _swap(index: int, ds: Dataset) -> None:
    """Two slices say that they lie at each other's place; their numbers stay."""
    x, y, _ = ds.ImagePositionPatient
    ds.ImagePositionPatient = [x, y, {2: 5, 5: 2}.get(index, index) * 3.0]


def _both(*changes: Change) -> Change:
    def change(index: int, ds: Dataset) -> None:
        for one in changes:
            one(index, ds)

    return change


SPOILT: dict[str, tuple[str, Change]] = {
    "empty uids": ("invalid_uid", _set(StudyInstanceUID="")),
    "no frame of reference": ("invalid_uid", _set(FrameOfReferenceUID="")),
    "an MR": ("wrong_modality", _set(Modality="MR")),
    "a localizer": ("not_primary_axial", _set(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])),
    "a reformat": ("not_primary_axial", _set(ImageType=["DERIVED", "SECONDARY", "REFORMATTED"])),
    "a secondary capture": ("not_primary_axial", _set(SOPClassUID="1.2.840.10008.5.1.4.1.1.7")),
    "a prone stack": ("not_primary_axial", _turn),
    "a stranger's slice": ("inconsistent_headers", _set(only=3, PatientID="SOMEBODY-ELSE")),
    "another study's slice": ("inconsistent_headers", _set(only=3, StudyInstanceUID="1.2.3.4")),
    "another frame of reference": ("inconsistent_headers", _set(only=3, FrameOfReferenceUID="1.2.3.5")),
    "two zooms": ("inconsistent_headers", _set(only=3, PixelSpacing=[0.7, 0.7])),
    "a doubled position": ("duplicate_slices", _set(only=3, ImagePositionPatient=[-204.8, -204.8, 6.0])),
    "a doubled uid": ("duplicate_slices", _set(only=3, SOPInstanceUID="1.2.3.6")),
    "a tilted gantry": ("gantry_tilt", _tilt),
    "a leaning stack": ("gantry_tilt", _lean),
    "a wide step": ("slice_gap", _set(only=SLICES - 1, ImagePositionPatient=[-204.8, -204.8, 28.0])),
    "7 mm slices": ("slice_thickness", _set(SliceThickness=7.0)),
    "no thickness": ("slice_thickness", _set(SliceThickness=None)),
    "a lung kernel": ("wrong_kernel", _set(ConvolutionKernel="B70f")),
    "half the pixels": ("unreadable_pixels", _halve),
    "no rescale": ("not_hounsfield", _no_rescale),
    "a rescale in percent": ("not_hounsfield", _set(RescaleType="PCT")),
    "a rescale off by 1024": ("not_hounsfield", _set(RescaleIntercept="1024")),
    "a flat image": ("scrubbed_pixels", _rewrite(np.zeros_like, only=2)),
    "a blanked rectangle": ("scrubbed_pixels", _rewrite(_blank, only=2)),
    "burnt-in text": ("scrubbed_pixels", _rewrite(_stamp)),
    "a slice of another intercept": ("not_hounsfield", _set(only=4, RescaleIntercept="3000")),
    "a slice of another intercept by 30": ("not_hounsfield", _set(only=4, RescaleIntercept="30")),
    "a slice of another slope": ("not_hounsfield", _set(only=4, RescaleSlope="2")),
    "a white slice": ("not_hounsfield", _rewrite(lambda image: image + 2500, only=4)),
    "a slice off by 300": ("not_hounsfield", _rewrite(lambda image: image + 300, only=4)),
    "a virtual monoenergetic series": (
        "not_primary_axial",
        _set(ImageType=["DERIVED", "PRIMARY", "AXIAL", "MONOENERGETIC"]),
    ),
    "a virtual monoenergetic series by the standard": (
        "not_primary_axial",
        _set(ImageType=["DERIVED", "PRIMARY", "AXIAL", "VMI"]),
    ),
    "slices aside": ("inconsistent_headers", _aside),
    "two slices swapped": ("inconsistent_headers", _swap),
    "tilted, without a frame of reference": ("gantry_tilt", _both(_tilt, _set(FrameOfReferenceUID=""))),
    "doubled, without a frame of reference": (
        "duplicate_slices",
        _both(_set(only=3, ImagePositionPatient=[-204.8, -204.8, 6.0]), _set(FrameOfReferenceUID="")),
    ),
    "declared burnt-in text": ("scrubbed_pixels", _set(BurnedInAnnotation="YES")),
}


OWN = SeriesIdentity(
    derived_uid("phantom-study", "a"), derived_uid("phantom-series", "a"), PatientIdentity("PHANTOM-1", "A")
)
# What the case says, and what is done to the files.
IDENTITIES: dict[str, tuple[SeriesIdentity, Change]] = {
    "of this case": (OWN, lambda index, ds: None),
    "blanks around the number": (OWN, _set(PatientID=" PHANTOM-1 ", IssuerOfPatientID="A")),
    "PatientID of all": (OWN, _set(PatientID="SOMEBODY-ELSE")),
    "PatientID of one": (OWN, _set(only=3, PatientID="SOMEBODY-ELSE")),
    "PatientID of none": (OWN, _set(PatientID="")),
    "IssuerOfPatientID": (OWN, _set(IssuerOfPatientID="B")),
    "StudyInstanceUID": (OWN, _set(StudyInstanceUID="1.2.3")),
    "SeriesInstanceUID": (OWN, _set(SeriesInstanceUID="1.2.3")),
    "PatientID beside another fault": (OWN, _set(PatientID="SOMEBODY-ELSE", Modality="MR")),
}


@pytest.fixture(scope="module")
def shard(abdomen: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """All spoilt series, some series that need another spoiling, and a whole one: one Great Expectations run."""
    root = tmp_path_factory.mktemp("shard")
    cases = []
    for name, (_, change) in SPOILT.items():
        write_series(root / name, abdomen, change=change, name="a")
        cases.append(CaseFiles(name, root / name))
    # Two instances share a UID only when both say it.
    write_series(root / "a doubled uid", abdomen, change=_both_say, name="a")

    whole = write_series(root / "whole", abdomen, name="whole")
    uids = tuple(_uids(whole))
    cases.append(CaseFiles("whole", root / "whole", uids))
    write_series(root / "promised more", abdomen, name="whole")
    cases.append(CaseFiles("promised more", root / "promised more", (*uids, "1.2.3.99")))
    write_series(root / "a missing slice", abdomen, name="whole")[4].unlink()
    cases.append(CaseFiles("a missing slice", root / "a missing slice"))
    cut = write_series(root / "a cut file", abdomen, name="whole")[4]
    cut.write_bytes(cut.read_bytes()[:900])
    cases.append(CaseFiles("a cut file", root / "a cut file"))
    write_series(root / "no DICOM", abdomen, name="whole")[4].write_bytes(b"not DICOM at all")
    cases.append(CaseFiles("no DICOM", root / "no DICOM"))
    write_series(root / "three slices", abdomen[:3], name="whole")
    cases.append(CaseFiles("three slices", root / "three slices"))
    write_series(root / "a small matrix", abdomen[:, ::2, ::2], name="whole", spacing_mm=1.6)
    cases.append(CaseFiles("a small matrix", root / "a small matrix"))
    (root / "nothing").mkdir()
    cases.append(CaseFiles("nothing", root / "nothing", uids))
    for name, (known, change) in IDENTITIES.items():
        write_series(root / name, abdomen, change=change, name="a")
        cases.append(CaseFiles(name, root / name, identity=known))
    return validate_shard(cases, SMALL)


def _both_say(index: int, ds: Dataset) -> None:
    if index in (3, 5):
        ds.SOPInstanceUID = "1.2.3.6"


def _uids(paths: list[Path]) -> list[str]:
    import pydicom

    return [str(pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID) for p in paths]


def test_passes_a_whole_portal_venous_series(shard: dict[str, Verdict]) -> None:
    verdict = shard["whole"]

    assert verdict.ok, verdict.refusal
    assert verdict.facts["slices"] == SLICES
    assert verdict.facts["spacing_mm"] == 3.0
    assert verdict.facts["air_hu"] == pytest.approx(-1000, abs=10)
    assert verdict.facts["kernel_kind"] == "soft"


@pytest.mark.parametrize("name", list(IDENTITIES)[2:])
def test_refuses_what_is_not_the_cases_before_anything_else(shard: dict[str, Verdict], name: str) -> None:
    refusal = shard[name].refusal

    assert refusal is not None
    assert refusal.code == "identity_mismatch"
    assert name.split(maxsplit=1)[0] in refusal.sentence
    assert "SOMEBODY" not in f"{refusal!r}"


@pytest.mark.parametrize("name", list(IDENTITIES)[:2])
def test_passes_what_is_the_cases(shard: dict[str, Verdict], name: str) -> None:
    assert shard[name].ok, shard[name].refusal


@pytest.mark.parametrize(("name", "code"), [(name, code) for name, (code, _) in SPOILT.items()])
def test_refuses_what_is_spoilt_for_its_own_reason(shard: dict[str, Verdict], name: str, code: str) -> None:
    verdict = shard[name]

    assert verdict.refusal is not None
    assert verdict.refusal.code == code, verdict.refusal
    assert verdict.refusal.sentence.endswith(".")
    assert "{" not in verdict.refusal.sentence


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("promised more", "series_incomplete"),
        ("nothing", "series_incomplete"),
        ("a missing slice", "slice_gap"),
        ("a cut file", "unreadable_pixels"),
        ("no DICOM", "unreadable_pixels"),
        ("three slices", "too_few_slices"),
        ("a small matrix", "matrix"),
    ],
)
def test_refuses_what_is_missing_from_a_series(shard: dict[str, Verdict], name: str, code: str) -> None:
    refusal = shard[name].refusal

    assert refusal is not None
    assert refusal.code == code, refusal


@pytest.mark.parametrize(
    "number", [lambda index: SLICES - index, lambda index: 1 + (index * 4) % SLICES, lambda index: 1]
)
def test_numbers_that_run_backward_or_follow_no_order_at_all_refuse_nothing(
    abdomen: np.ndarray, tmp_path: Path, number: Callable[[int], int]
) -> None:
    """Backward is lawful; where many slices are out of order the numbers say nothing of the place: flagged."""
    write_series(tmp_path / "whole", abdomen, change=lambda index, ds: setattr(ds, "InstanceNumber", number(index)))

    verdict = validate_shard([CaseFiles("whole", tmp_path / "whole")], SMALL)["whole"]

    assert verdict.ok, verdict.refusal
    assert (verdict.facts["out_of_order"] > 0) == (number(1) == 5)


def test_two_acquisitions_that_are_each_numbered_from_one_are_in_order(abdomen: np.ndarray, tmp_path: Path) -> None:
    def renumber(index: int, ds: Dataset) -> None:
        ds.AcquisitionNumber, ds.InstanceNumber = 1 + index // 4, 1 + index % 4

    write_series(tmp_path / "whole", abdomen, change=renumber)

    assert validate_shard([CaseFiles("whole", tmp_path / "whole")], SMALL)["whole"].facts["out_of_order"] == 0


def test_says_how_many_promised_instances_are_missing(shard: dict[str, Verdict]) -> None:
    refusal = shard["promised more"].refusal

    assert refusal is not None
    assert refusal.numbers["missing"] == 1
    assert refusal.numbers["expected"] == SLICES + 1


def test_says_where_the_gap_is_and_how_wide(shard: dict[str, Verdict]) -> None:
    refusal = shard["a missing slice"].refusal

    assert refusal is not None
    assert (refusal.numbers["spacing_mm"], refusal.numbers["largest_step_mm"]) == (3.0, 6.0)
    assert refusal.numbers["missing_positions"] == 1


def test_one_bad_case_does_not_touch_the_verdict_of_its_neighbours(
    shard: dict[str, Verdict], abdomen: np.ndarray, tmp_path: Path
) -> None:
    write_series(tmp_path / "whole", abdomen, name="whole")

    alone = validate_shard([CaseFiles("whole", tmp_path / "whole")], SMALL)["whole"]

    assert alone.facts == shard["whole"].facts
    assert alone.refusal == shard["whole"].refusal


def test_keeps_the_other_reasons_beside_the_one_that_names_the_refusal(abdomen: np.ndarray, tmp_path: Path) -> None:
    def spoil(index: int, ds: Dataset) -> None:
        ds.SliceThickness = 8.0
        ds.ConvolutionKernel = "LUNG"

    write_series(tmp_path / "both", abdomen, change=spoil)

    refusal = validate_shard([CaseFiles("both", tmp_path / "both")], SMALL)["both"].refusal

    assert refusal is not None
    assert refusal.code == "slice_thickness"
    assert refusal.numbers["also"] == ["wrong_kernel"]


@pytest.mark.parametrize(("aorta", "liver", "phase"), [(42, 55, Phase.UNENHANCED), (300, 65, Phase.ARTERIAL)])
def test_refuses_a_series_whose_pixels_contradict_its_phase(
    abdomen: np.ndarray, tmp_path: Path, aorta: int, liver: int, phase: Phase
) -> None:
    y, x = np.mgrid[:512, :512] / 512 - 0.5
    volume = abdomen.copy()
    volume[:, ((x + 0.18) / 0.15) ** 2 + (y / 0.16) ** 2 < 1] += liver - 110
    vessel = (x - 0.03) ** 2 + (y - 0.09) ** 2
    volume[:, vessel < 0.02**2] += aorta - 150
    volume[:, (vessel >= 0.02**2) & (vessel < 0.035**2) & (x**2 + (y - 0.16) ** 2 >= 0.04**2)] -= 160  # fat
    write_series(tmp_path / "other", volume)

    verdict = validate_shard([CaseFiles("other", tmp_path / "other")], SMALL)["other"]

    assert verdict.refusal is not None
    assert verdict.refusal.code == "wrong_phase"
    assert verdict.refusal.numbers["aorta_hu"] == pytest.approx(aorta, abs=15)
    assert verdict.refusal.numbers["liver_hu"] == pytest.approx(liver, abs=6)
    assert verdict.facts["phase"] == str(phase)


def test_a_site_can_name_its_own_soft_kernels(abdomen: np.ndarray, tmp_path: Path) -> None:
    write_series(tmp_path / "own", abdomen, change=_set(ConvolutionKernel="B60s"))
    case = [CaseFiles("own", tmp_path / "own")]

    default = validate_shard(case, SMALL)["own"]
    told = validate_shard(case, ValidateConfig(min_slices=8, min_coverage_mm=20.0, kernels=("^B60s$",)))["own"]

    assert default.refusal is not None and default.refusal.code == "wrong_kernel"
    assert told.ok


def test_an_empty_shard_has_no_verdicts() -> None:
    assert validate_shard([], SMALL) == {}


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)))
def test_verdict_does_not_depend_on_the_order_of_files(order: list[int], tmp_path: Path) -> None:
    """A 64 x 64 series is refused for its matrix, with the same words and numbers whatever its files are called."""
    verdicts = []
    for name, places in (("straight", range(6)), ("shuffled", order)):
        folder = tmp_path / name
        shutil.rmtree(folder, ignore_errors=True)
        paths = write_series(folder, abdomen_hu(6, size=64), shuffle=False, spacing_mm=6.0)
        for place, path in zip(places, paths, strict=True):
            path.rename(folder / f"x{place}.dcm")
        verdicts.append(validate_shard([CaseFiles("case", folder)], SMALL)["case"])

    straight, shuffled = verdicts

    assert straight.refusal == shuffled.refusal
    assert straight.facts == shuffled.facts


def test_dose_is_a_fact_where_the_headers_tell_it_and_none_where_they_do_not(
    abdomen: np.ndarray, tmp_path: Path
) -> None:
    write_series(tmp_path / "told", abdomen, change=_set(CTDIvol=11.5, Exposure="90"))
    write_series(tmp_path / "untold", abdomen)

    verdicts = validate_shard([CaseFiles(name, tmp_path / name) for name in ("told", "untold")], SMALL)
    told, untold = (verdicts[name].facts for name in ("told", "untold"))

    assert (told["ctdi_vol_mgy"], told["exposure_mas"]) == (11.5, 90.0)
    assert "ctdi_vol_mgy" not in untold
    assert "exposure_mas" not in untold


def test_a_case_that_breaks_the_reader_or_the_checks_leaves_the_others_judged(abdomen, tmp_path, monkeypatch):
    """One case of three cannot be read, one breaks the checks' run: only these two carry a fault, each its own."""
    names = ("good", "unread", "unchecked")
    for name in names:
        write_series(tmp_path / name, abdomen, name=name)
    real_read, real_run = verdict.read_series, verdict.run_suites

    def read(folder, *rest):
        if folder.name == "unread":
            raise MemoryError
        return real_read(folder, *rest)

    def run(frames, all_checks):
        if "unchecked" in frames["cases"].index:
            raise TypeError("Phantom^Test")
        return real_run(frames, all_checks)

    monkeypatch.setattr(verdict, "read_series", read)
    monkeypatch.setattr(verdict, "run_suites", run)

    found = validate_shard([CaseFiles(name, tmp_path / name) for name in names], SMALL, tmp_path / "docs")

    assert found["good"].ok
    assert {name: type(found[name].fault) for name in names[1:]} == {"unread": MemoryError, "unchecked": TypeError}


def test_pages_that_cannot_be_written_keep_no_verdict_from_being_given(abdomen, tmp_path):
    write_series(tmp_path / "good", abdomen, name="good")
    shards = tmp_path / "docs" / "shards"
    shards.mkdir(parents=True)
    (shards / "shard-000000000000.json").write_text('{"shard": "cut')

    found = validate_shard([CaseFiles("good", tmp_path / "good")], SMALL, tmp_path / "docs")
    (tmp_path / "docs" / "index.html").unlink()
    (tmp_path / "docs" / "index.html").mkdir()
    again = validate_shard([CaseFiles("good", tmp_path / "good")], SMALL, tmp_path / "docs")

    assert found["good"].ok and again["good"].ok


def test_what_was_typed_into_the_headers_of_a_good_series_is_no_fact_either(abdomen: np.ndarray, tmp_path: Path):
    """Facts reach Postgres, the monitors, the audit's report and the card of a model."""
    typed = {"Manufacturer": f"SIEMENS {SENTENCE}", "ManufacturerModelName": SENTENCE, "ConvolutionKernel": SENTENCE}
    write_series(tmp_path / "ct", abdomen, change=_set(**typed))

    verdict = validate_shard([CaseFiles("a", tmp_path / "ct")], SMALL, tmp_path / "docs")["a"]

    assert (verdict.facts["manufacturer"], verdict.facts["model"]) == ("another manufacturer", "another model")
    assert verdict.facts["kernel"] == "another kernel"
    shown = str(dict(verdict.facts)) + "".join(p.read_text() for p in (tmp_path / "docs").rglob("*") if p.is_file())
    assert not [word for word in ("jane", "doe", "1960", "gastric") if word in shown.lower()]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("RescaleType", SENTENCE),
        ("Modality", SENTENCE),
        ("PhotometricInterpretation", SENTENCE),
        ("BurnedInAnnotation", SENTENCE),
        ("ConvolutionKernel", f"LUNG {SENTENCE}"),
        ("ImageType", ["ORIGINAL", "PRIMARY", f"BOLUS {SENTENCE}"]),
        ("SOPClassUID", SENTENCE),
    ],
)
def test_what_was_typed_into_a_header_is_not_repeated(abdomen: np.ndarray, tmp_path: Path, keyword: str, value: object):
    """Refusals reach logs, events, Data Docs, the worklist and the PACS: they show values of known lists alone."""
    write_series(tmp_path / "ct", abdomen, change=_set(**{keyword: value}))

    verdict = validate_shard([CaseFiles("a", tmp_path / "ct")], SMALL, tmp_path / "docs")["a"]

    assert verdict.refusal is not None
    shown = f"{verdict.refusal.sentence} {dict(verdict.refusal.numbers)}"
    shown += "".join(path.read_text() for path in (tmp_path / "docs").rglob("*") if path.is_file())
    assert not [word for word in ("jane", "doe", "1960", "gastric") if word in shown.lower()]

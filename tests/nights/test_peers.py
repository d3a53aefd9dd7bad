"""A whole night on each PACS that we can have here; DCMTK's own clients say what is there afterwards."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
from pydicom import dcmread, uid

from gtr_batch.config import Config, PacsConfig, ValidateConfig
from gtr_batch.domain.delivery import ReportObject
from gtr_batch.simulation.servers.services import load_files
from gtr_batch.wiring import open_site
from tests.adapters.pacs.peers import a_free_port, dcmqrscp, orthanc, qrscp
from tests.nights.conftest import NIGHT, SLICES
from tests.nights.test_night import run
from tests.phantoms import abdomen_hu

SIZE = 128  # pixels; small, for a site whose limits say so
CODES = {"T1": "1228889001", "T2": "1228929004", "T3": "1228938002", "T4": "1228944003"}
MODALITIES = {"structured_report": "SR", "key_objects": "KO", "parametric_map": "OT", "secondary_capture": "OT"}
COMMITS = ("orthanc",)


@pytest.fixture(scope="module")
def volume():
    """A small enhanced abdomen."""
    return abdomen_hu(SLICES, SIZE)


@pytest.fixture
def pacs():
    """The address of the PACS that each test starts itself."""
    return SimpleNamespace(port=a_free_port(), ae_title="PACS")


@pytest.fixture
def small(config: Config) -> Config:
    """The same settings for small images, with a port for the reports and instances that the PACS sends."""
    ours = a_free_port()
    return attrs.evolve(
        config,
        pacs=attrs.evolve(config.pacs, move_port=ours, commitment_port=ours, commitment_timeout_s=20),
        validate=ValidateConfig(matrix=SIZE),
    )


@pytest.fixture
def archive(need_program, tmp_path: Path) -> Callable[..., object]:
    """A function that runs a PACS with these settings while its block runs."""

    @contextmanager
    def running(kind: str, pacs: PacsConfig, limit: int = 0) -> Iterator[None]:
        folder, port, at = tmp_path / kind, pacs.port, {"our_port": pacs.move_port, "ae_title": pacs.called_ae_title}
        if kind == "orthanc":
            limits = {"LimitFindResults": limit, "LimitFindInstances": limit}
            with orthanc(need_program("Orthanc", "orthanc"), folder, port, **at, **limits):
                yield
        elif kind == "dcmqrscp":
            with dcmqrscp(need_program("dcmqrscp", "dcmtk"), folder, port, **at):
                yield
        else:
            with qrscp(folder, port, **at):
                yield

    return running


@pytest.fixture
def dcmtk(small: Config, need_program, tmp_path: Path) -> Callable[..., str]:
    """A function that runs a client of DCMTK against the PACS, as another machine would; returns what it says."""

    def run_client(program: str, *options: str) -> str:
        done = subprocess.run(
            [need_program(program, "dcmtk"), "-aet", "GTRBATCH", "-aec", small.pacs.called_ae_title, *options,
             "127.0.0.1", str(small.pacs.port)],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run_client


def listed(dcmtk: Callable[..., str], *keys: str) -> set[str]:
    """Series or instances that findscu lists."""
    said = dcmtk("findscu", "-S", *(word for key in keys for word in ("-k", key)))
    unique = "SeriesInstanceUID" if "QueryRetrieveLevel=SERIES" in keys else "SOPInstanceUID"
    answers = said.split("Find Response")[1:] or said.split("# Dicom-Data-Set")[1:]
    return set(re.findall(rf"UI \[([\d.]+)[^\]]*\] +# +\d+, \d {unique}\n", "\n".join(answers)))


def check_with_findscu(dcmtk: Callable[..., str], study_uid: str, objects: list[ReportObject]) -> None:
    """Of each kind of object findscu lists what we say is there, and no more."""
    for modality in sorted(set(MODALITIES.values())):
        mine = [one for one in objects if MODALITIES[one.kind] == modality]
        at = ("QueryRetrieveLevel=SERIES", f"StudyInstanceUID={study_uid}", "SeriesInstanceUID")
        assert listed(dcmtk, *at, f"Modality={modality}") == {one.series_uid for one in mine}, modality
        for one in mine:
            at = ("QueryRetrieveLevel=IMAGE", f"StudyInstanceUID={study_uid}", f"SeriesInstanceUID={one.series_uid}")
            assert listed(dcmtk, *at, "SOPInstanceUID") == {one.sop_instance_uid}, one.kind


def fetched(dcmtk: Callable[..., str], study_uid: str, one: ReportObject, folder: Path) -> Path:
    """The object, as getscu fetches it."""
    folder.mkdir()
    at = ("QueryRetrieveLevel=SERIES", f"StudyInstanceUID={study_uid}", f"SeriesInstanceUID={one.series_uid}")
    dcmtk("getscu", "-S", "-od", str(folder), *(word for key in at for word in ("-k", key)))
    [path] = folder.iterdir()
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mode", "limit"),
    [
        ("orthanc", "get", 3),
        ("orthanc", "move", 10),
        ("dcmqrscp", "get", 0),
        ("dcmqrscp", "move", 0),
        ("qrscp", "move", 0),
    ],
)
def test_a_night_on_this_pacs_ends_whole_and_others_find_what_we_say_is_there(
    small, admit, enter_in_ehr, archive, dcmtk, need_program, tmp_path, kind, mode, limit
):
    """One of them is good, one has a gap, two are strangers: more studies, series and slices than the PACS answers."""
    times = {"good": "080000", "gap": "120000", "stranger": "160000", "other": "200000"}
    for name, time in times.items():
        skip = {"good": (), "gap": (6,)}.get(name, range(2, SLICES))
        admit(name, skip=skip, change=lambda _, ds, time=time: setattr(ds, "StudyTime", time))
    for name in ("good", "gap"):
        enter_in_ehr(name)
    here = attrs.evolve(small, pacs=attrs.evolve(small.pacs, retrieve_mode=mode))

    with archive(kind, here.pacs, limit), open_site(here) as site:
        # On two associations at once dcmqrscp may give two instances one file: the case is refused then, rightly.
        load_files(attrs.evolve(here.pacs, associations=1), tmp_path / "dicom")
        summary = run(site)
        cases = {str(case.state): case for case in site.cases.of_night(NIGHT)}
        objects = {state: site.cases.objects(case.case_id) for state, case in cases.items()}
        staging = site.cases.staging(cases["committed"].case_id)
        receipts = site.deliveries.stored(cases["committed"].case_id)
        for state, case in cases.items():
            check_with_findscu(dcmtk, case.study_uid, objects[state])
        [report] = [one for one in objects["committed"] if one.kind == "structured_report"]
        back = fetched(dcmtk, cases["committed"].study_uid, report, tmp_path / "back")
        again = run(site)

    assert summary["states"] == again["states"] == {"committed": 1, "refused": 1}
    assert summary["refusals"] == {"slice_gap": 1}
    assert summary["intake"]["unknown_patients"] == 2
    assert {one.sop_instance_uid for one in objects["committed"]} == receipts
    assert len(objects["committed"]) == 4 and len(objects["refused"]) == 1
    assert ("no_storage_commitment" in staging.flags) is (kind not in COMMITS)
    said = subprocess.run([need_program("dsrdump", "dcmtk"), str(back)], capture_output=True, text=True, check=True)
    assert f'"cT category")=({CODES[str(staging.t_stage)]},SCT' in said.stdout
    assert "AI result - not verified" in said.stdout
    assert "Verification Flag   : UNVERIFIED" in said.stdout
    written = next((tmp_path / "store").rglob(f"report/{report.file}"))
    assert dcmread(back) == dcmread(written)


# Lossless ones, whose pixels must be those of the uncompressed series; then lossy ones. Written by pydicom or DCMTK.
LOSSLESS = {
    "explicit": (),
    "implicit": ("dcmconv", "+ti"),
    "big_endian": ("dcmconv", "+tb"),
    "deflated": ("dcmconv", "+td"),
    "jpeg_sv1": ("dcmcjpeg", "+e1"),
    "jpeg_14": ("dcmcjpeg", "+el"),
    "jls": uid.JPEGLSLossless,
    "j2k": uid.JPEG2000Lossless,
    "rle": uid.RLELossless,
}
LOSSY = {"jls_near": uid.JPEGLSNearLossless, "j2k_lossy": uid.JPEG2000}
LOSS = {uid.JPEGLSNearLossless: {"jls_error": 2}, uid.JPEG2000: {"j2k_cr": [4]}}
MIXED = "mixed"  # every slice in another one: a PACS that compressed a part of a series meanwhile


def encode(path: Path, way: tuple[str, ...] | uid.UID, need_program) -> str:
    """Write a file anew in another transfer syntax, as the same instance; returns the syntax."""
    if isinstance(way, uid.UID):
        ds = dcmread(path)
        ds.compress(way, generate_instance_uid=False, **LOSS.get(way, {}))
        ds.save_as(path, enforce_file_format=True)
    elif way:
        goal = path.with_suffix(".new")
        subprocess.run([need_program(way[0], "dcmtk"), *way[1:], str(path), str(goal)], check=True)
        goal.rename(path)
    return str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)


@pytest.mark.slow
def test_a_series_in_any_transfer_syntax_is_staged_as_the_same_series_uncompressed(
    small, admit, enter_in_ehr, archive, need_program, tmp_path
):
    """Each patient's series in one syntax, one patient's in all of them."""
    ways = LOSSLESS | LOSSY
    written = {}
    for name in [*ways, MIXED]:
        folder = admit(name)
        enter_in_ehr(name)
        own = [ways[name]] if name in ways else list(LOSSLESS.values())
        files = sorted(folder.glob("*.dcm"))
        written[name] = {encode(path, own[k % len(own)], need_program) for k, path in enumerate(files)}
    assert len(set().union(*written.values())) == len(ways)
    here = attrs.evolve(small, night=attrs.evolve(small.night, shard_size=16))

    with archive("orthanc", here.pacs), open_site(here) as site:
        load_files(here.pacs, tmp_path / "dicom")
        summary = run(site)
        cases = {case.patient_id.removeprefix("PHANTOM-"): case for case in site.cases.of_night(NIGHT)}
        stagings = {name: site.cases.staging(case.case_id) for name, case in cases.items()}

    assert summary["states"] == {"committed": len(ways) + 1}
    store = tmp_path / "store" / str(NIGHT)
    came = {
        name: {
            str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
            for path in (store / case.case_id / "retrieve").glob("*.dcm")
        }
        for name, case in cases.items()
    }
    assert came == written
    for name in [*LOSSLESS, MIXED]:
        assert stagings[name].probabilities == stagings["explicit"].probabilities, name

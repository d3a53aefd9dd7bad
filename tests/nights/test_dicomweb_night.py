"""A whole night in by DICOMweb and out by DICOMweb, on Orthanc; DCMTK's clients say what is there afterwards."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
from pydicom import dcmread

from gtr_batch.cli import doctor_site
from gtr_batch.config import Config, DicomwebConfig, ValidateConfig
from gtr_batch.dicomweb import Dicomweb
from gtr_batch.simulation.servers.services import load_files
from gtr_batch.wiring import open_site
from tests.adapters.pacs.peers import a_free_port
from tests.dicomweb_servers import orthanc_with_dicomweb
from tests.nights.conftest import NIGHT, SLICES
from tests.nights.test_night import run
from tests.phantoms import abdomen_hu

SIZE = 128  # pixels; small, for a site whose limits say so


@pytest.fixture(scope="module")
def volume():
    """A small enhanced abdomen."""
    return abdomen_hu(SLICES, SIZE)


@pytest.fixture
def pacs():
    """The address of the PACS that the test starts itself."""
    return SimpleNamespace(port=a_free_port(), ae_title="PACS")


@pytest.mark.slow
def test_a_night_by_dicomweb_ends_whole_and_others_find_what_we_say_is_there(
    config: Config, admit, enter_in_ehr, need_program, dicomweb_plugin, tmp_path: Path
):
    """One case is good, one has a gap; DIMSE is used by nobody but the loader and the client that looks."""
    for name, skip in (("good", ()), ("gap", (6,))):
        admit(name, skip=skip)
        enter_in_ehr(name)
    http = a_free_port()
    url = f"http://127.0.0.1:{http}/dicom-web"
    web = DicomwebConfig(url=url, retrieve=True, deliver=True, user="gtr", password="secret")
    nobody = attrs.evolve(config.pacs, port=a_free_port(), connect_timeout_s=1)  # whoever speaks DIMSE fails
    here = attrs.evolve(config, dicomweb=web, pacs=nobody, validate=ValidateConfig(matrix=SIZE))
    program, folder, loader = need_program("Orthanc", "orthanc"), tmp_path / "orthanc", config.pacs

    with (
        orthanc_with_dicomweb(program, dicomweb_plugin, folder, loader.port, http, loader.called_ae_title),
        open_site(here) as site,
    ):
        load_files(loader, tmp_path / "dicom")
        summary, again = run(site), run(site)
        cases = {str(case.state): case for case in site.cases.of_night(NIGHT)}
        objects = {state: site.cases.objects(case.case_id) for state, case in cases.items()}
        staging = site.cases.staging(cases["committed"].case_id)
        receipts = site.deliveries.stored(cases["committed"].case_id)
        found = {
            state: _listed(need_program("findscu", "dcmtk"), loader, cases[state].study_uid, objects[state])
            for state in cases
        }
        [report] = [one for one in objects["committed"] if one.kind == "structured_report"]
        back = site.archive.retrieve(
            cases["committed"].study_uid, report.series_uid, [report.sop_instance_uid], tmp_path / "back"
        )
        told = doctor_site.dicomweb(site)
        archive = site.archive

    assert isinstance(archive, Dicomweb)
    assert summary["states"] == again["states"] == {"committed": 1, "refused": 1}
    assert summary["refusals"] == {"slice_gap": 1}
    assert len(objects["committed"]) == 4 and len(objects["refused"]) == 1
    assert {one.sop_instance_uid for one in objects["committed"]} == receipts
    assert found == {state: {one.sop_instance_uid for one in objects[state]} for state in cases}
    assert "no_storage_commitment" in staging.flags
    assert dcmread(back[0]) == dcmread(next((tmp_path / "store").rglob(f"report/{report.file}")))
    assert (told.state, told.found) == (
        "ok", "QIDO-RS of one study was answered with 1; used to retrieve and deliver",
    )  # fmt: skip


def _listed(program: str, pacs, study_uid: str, objects) -> set[str]:
    """What findscu lists in the series of these objects."""
    found: set[str] = set()
    for series in {one.series_uid for one in objects}:
        keys = [
            "QueryRetrieveLevel=IMAGE",
            f"StudyInstanceUID={study_uid}",
            f"SeriesInstanceUID={series}",
            "SOPInstanceUID",
        ]
        done = subprocess.run(
            [program, "-aet", "GTRBATCH", "-aec", pacs.called_ae_title, "-S", *(w for k in keys for w in ("-k", k)),
             "127.0.0.1", str(pacs.port)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        answers = (done.stdout + done.stderr).split("Find Response")[1:]
        found |= set(re.findall(r"\(0008,0018\) UI \[([\d.]+)", "\n".join(answers)))
    return found

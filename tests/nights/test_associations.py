"""How often the PACS is called for a case, counted in Orthanc's own log."""

from __future__ import annotations

import re
import time

import attrs
import pytest
from pydicom import dcmread

from gtr_batch import night as steps
from gtr_batch.simulation.servers.services import load_files
from gtr_batch.wiring import open_site
from tests.adapters.pacs.peers import a_free_port, orthanc
from tests.nights.conftest import NIGHT

FOR_THE_NIGHT = 2  # its query, and intake
A_SHARD = 4  # retrieve; stores and the questions before them; commitment; the PACS's own for its report
CASES = ("first", "second", "third", "fourth")
OPENED = re.compile(r"Association Received|Opening a DICOM SCU connection")  # by us; by Orthanc, for its report


def add_series(folder, number, description):
    """Another series of the study in `folder`."""
    for path in sorted(folder.glob("0*.dcm")):
        ds = dcmread(path)
        ds.SeriesInstanceUID += f".{number}"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID}.{number}"
        ds.SeriesNumber, ds.SeriesDescription = number, description
        ds.save_as(folder / f"series{number}-{path.name}", enforce_file_format=True)


@pytest.mark.slow
@pytest.mark.parametrize("shard_size", [1, 4])
def test_a_night_opens_two_associations_and_four_a_shard(
    config, admit, enter_in_ehr, need_program, tmp_path, shard_size, capsys
):
    """Three series a study, from the query to the commitment; the association of Orthanc's report counts too."""
    port, ours = a_free_port(), a_free_port()
    pacs = attrs.evolve(
        config.pacs,
        port=port,
        called_ae_title="ORTHANC",
        commitment_port=ours,
        commitment_timeout_s=20,
    )
    here = attrs.evolve(config, pacs=pacs, night=attrs.evolve(config.night, shard_size=shard_size))
    for name in CASES:
        folder = admit(name)
        add_series(folder, 11, "Abdomen 5.0")
        add_series(folder, 12, "Abdomen late 5.0")
        enter_in_ehr(name)

    with orthanc(need_program("Orthanc", "orthanc"), tmp_path / "orthanc", port, our_port=ours, options=["--verbose"]):
        load_files(pacs, tmp_path / "dicom")
        log = tmp_path / "orthanc" / "orthanc.log"
        before = len(OPENED.findall(log.read_text()))
        talking_s = 0.0
        with open_site(here) as site:
            began = time.perf_counter()
            shards = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
            talking_s += time.perf_counter() - began
            for step in steps.SHARD_STEPS:
                began = time.perf_counter()
                for shard in shards:
                    step(site, NIGHT, shard)
                if step in (steps.retrieve, steps.deliver):
                    talking_s += time.perf_counter() - began
            summary = steps.close_night(site, NIGHT)
        opened = len(OPENED.findall(log.read_text())) - before

    with capsys.disabled():
        print(
            f"\n{opened} associations for {len(CASES)} cases of three series in shards of {shard_size}: "
            f"{opened / len(CASES):.2f} a case, {talking_s / len(CASES):.2f} s a case in the steps that call the PACS"
        )
    assert summary["states"] == {"committed": len(CASES)}
    assert opened <= FOR_THE_NIGHT + A_SHARD * len(shards)

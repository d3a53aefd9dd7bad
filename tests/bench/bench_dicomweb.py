"""DICOMweb against DIMSE on one Orthanc, in interleaved rounds: a CT series in, and its slices out as new instances.

Wall seconds, and processor seconds of this process, of `gtr_batch.dicomweb` and of `gtr_batch.pacs` for the same call
of the port: `retrieve` of a series of 80 slices of 512 x 512, `find_instances` of it, and `store` of 20 of them.

``python -m tests.bench.bench_dicomweb [--rounds 3]`` prints the rows.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import attrs
from pydicom import dcmread
from pydicom.uid import generate_uid

from gtr_batch.config import DicomwebConfig, PacsConfig
from gtr_batch.dicomweb import Dicomweb
from gtr_batch.loopback import free_port
from gtr_batch.pacs import Pacs
from tests.bench.bench_pacs import _program
from tests.dicomweb_servers import orthanc_with_dicomweb
from tests.phantoms import abdomen_hu, write_series

SLICES, STORED = 80, 20
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


@attrs.define
class _Row:
    name: str
    wall: dict[str, list[float]] = attrs.field(factory=lambda: {"dicomweb": [], "dimse": []})
    cpu: dict[str, list[float]] = attrs.field(factory=lambda: {"dicomweb": [], "dimse": []})

    def time(self, way: str, call: Callable[[], object]) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        self.wall[way].append(time.perf_counter() - wall)
        self.cpu[way].append(time.process_time() - cpu)

    def text(self) -> str:
        wall, cpu = ({way: statistics.median(one[way]) for way in one} for one in (self.wall, self.cpu))
        return (
            f"{self.name}: DICOMweb {wall['dicomweb']:.2f} s ({cpu['dicomweb']:.2f} s of processor), DIMSE "
            f"{wall['dimse']:.2f} s ({cpu['dimse']:.2f} s); ratio {wall['dicomweb'] / wall['dimse']:.2f} "
            f"({cpu['dicomweb'] / cpu['dimse']:.2f})"
        )


def measure(scratch: Path, rounds: int) -> list[_Row]:
    """The rows; needs Orthanc and its plugin."""
    program, port, http = _program("Orthanc"), free_port(), free_port()
    assert program and Path(PLUGIN).exists()
    paths = sorted(write_series(scratch / "in", abdomen_hu(SLICES), name="bench"))
    head = dcmread(paths[0], stop_before_pixels=True)
    names, uids = (head.StudyInstanceUID, head.SeriesInstanceUID), [dcmread(p).SOPInstanceUID for p in paths]
    rows = [_Row(f"retrieve, {SLICES} slices"), _Row("find_instances"), _Row(f"store, {STORED} slices")]
    with orthanc_with_dicomweb(program, PLUGIN, scratch / "orthanc", port, http):
        web = DicomwebConfig(f"http://127.0.0.1:{http}/dicom-web", user="gtr", password="secret")
        pacs = PacsConfig(port=port, called_ae_title="ORTHANC")
        ways = {"dicomweb": Dicomweb(web, pacs), "dimse": Pacs(pacs)}
        ways["dimse"].store(paths)
        for number in range(rounds + 1):
            if number == 1:  # the first warms up
                rows = [_Row(row.name) for row in rows]
            for way, archive in ways.items():
                folder = scratch / f"{way}{number}"
                rows[0].time(way, lambda a=archive, f=folder: a.retrieve(*names, uids, f))
                rows[1].time(way, lambda a=archive: a.find_instances(*names))
                new = _as_new(paths[:STORED], scratch / f"new-{way}{number}")
                rows[2].time(way, lambda a=archive, n=new: a.store(n))
    return rows


def _as_new(paths: list[Path], folder: Path) -> list[Path]:
    folder.mkdir()
    series = generate_uid()
    for path in paths:
        ds = dcmread(path)
        ds.SeriesInstanceUID, ds.SOPInstanceUID = series, generate_uid()
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(folder / path.name, enforce_file_format=True)
    return sorted(folder.iterdir())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    with tempfile.TemporaryDirectory(prefix="gtr-bench-dicomweb-") as made:
        for row in measure(Path(made), parser.parse_args().rounds):
            print(row.text())

"""The PACS's half against a real Orthanc, in one run: lines against DCMTK's clients, and a small night step by step.

Lines: a series of CT slices of 512 x 512 is retrieved by our C-GET and by ``getscu``, then stored by our C-STORE and by
``storescu``, in interleaved rounds over the loopback interface; MB/s from the request for an association to the last
file (ours are synced to the disk). DCMTK is measured twice: as it is called by default, and at its best, with large
PDUs and without Nagle's algorithm at either end (``TCP_NODELAY``), which is a setting of the PACS's process too.

Night: synthetic patients with three phases each, in one process, ResNet-152 with random weights. Wall and CPU seconds
(of this process) a case and step, and associations a case, from Orthanc's own log.

``python -m tests.bench.bench_pacs [--cases 6] [--shard 12] [--lines-only | --night-only]`` prints the rows.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from pydicom import dcmread
from pydicom.uid import generate_uid

from gtr_batch.config import (
    Config,
    FilesConfig,
    IntakeConfig,
    NightConfig,
    PacsConfig,
    StageConfig,
)
from gtr_batch.loopback import free_port
from gtr_batch.pacs import Pacs
from tests.adapters.pacs.peers import orthanc
from tests.phantoms import abdomen_hu, write_series

NIGHT = date(2026, 3, 1)  # the study date of tests/phantoms.py
SLICES, ROUNDS, CASES, SHARD = 80, 3, 6, 12
PHASES = {
    "Abdomen native": (40, 55),
    "Abdomen arterial": (320, 70),
    "Abdomen portal venous": (150, 110),
}  # aorta, liver
OPENED = re.compile(r"Association Received|Opening a DICOM SCU connection")  # by us; by Orthanc, for its report
TARGETS = {"get": 1.5, "store": 1.0, "night_s": 3.0}


def measure(
    cases: int = CASES, shard: int = SHARD, *, lines: bool = True, night: bool = True, backbone: str = "resnet152"
) -> list[dict[str, Any]]:
    """Rows of ``bench.json``: name, ours, theirs, ratio, target (or None), unit; none without Orthanc."""
    if not all(map(_program, ("Orthanc", "getscu", "storescu"))):
        return []
    with tempfile.TemporaryDirectory(prefix="gtr-bench-pacs-") as scratch:
        rows = _lines(Path(scratch)) if lines else []
        return rows + (_night(Path(scratch), cases, shard, backbone) if night else [])


def _row(name: str, ours: float, theirs: float, target: float | None, unit: str) -> dict[str, Any]:
    ratio = ours / theirs if theirs else 0.0
    return {"name": name, "ours": ours, "theirs": theirs, "ratio": ratio, "target": target, "unit": unit}


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _cpu_s(who: int = resource.RUSAGE_SELF) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


# --- lines


def _lines(scratch: Path) -> list[dict[str, Any]]:
    """MB/s of both services, against DCMTK by default and at its best."""
    write_series(scratch / "series", abdomen_hu(SLICES), name="line")
    rows = []
    for how, environment, options in (
        ("DCMTK by default", {}, []),
        ("DCMTK at its best", {"TCP_NODELAY": "1"}, ["--max-pdu", "131072"]),
    ):
        with _environment(environment):
            rows += _line_rows(scratch, how, options)
    return rows


def _line_rows(scratch: Path, how: str, options: list[str]) -> list[dict[str, Any]]:
    folder = scratch / "lines"
    port = free_port()
    config = PacsConfig(port=port, called_ae_title="ORTHANC")
    with orthanc(str(_program("Orthanc")), folder / "orthanc", port, ConcurrentJobs=1):
        pacs = Pacs(config)
        pacs.store(sorted((scratch / "series").glob("*.dcm")))
        first = dcmread(next((scratch / "series").glob("*.dcm")), stop_before_pixels=True)
        names = str(first.StudyInstanceUID), str(first.SeriesInstanceUID)
        get, store = _Times(), _Times()
        for number in range(ROUNDS):
            out = folder / f"get{number}"
            get.add(
                out / "ours", lambda to: _our_get(pacs, names, to), lambda to: _getscu(port, names, to, options), out
            )
            sent = [_copies(scratch / "series", folder / f"store{number}-{who}") for who in ("ours", "theirs")]
            store.add(sent[0], lambda at: pacs.store(_files(at)), lambda at: _storescu(port, at, options), sent[1])
    shutil.rmtree(folder)
    return [
        _row(f"C-GET, faster than getscu, {how}", *get.rates(), TARGETS["get"], "MB/s"),
        _row(f"C-STORE, faster than storescu, {how}", *store.rates(), TARGETS["store"], "MB/s"),
        _row(f"C-GET, CPU of the client against getscu, {how}", *get.cpus(), None, "ms/MB"),
        _row(f"C-STORE, CPU of the client against storescu, {how}", *store.cpus(), None, "ms/MB"),
    ]


@attrs.define
class _Times:
    """Rates of interleaved rounds."""

    ours: list[tuple[float, float]] = attrs.field(factory=list)  # MB/s, CPU ms a MB
    theirs: list[tuple[float, float]] = attrs.field(factory=list)

    def add(
        self, at: Path, our: Callable[[Path], object], their: Callable[[Path], object], beside: Path | None = None
    ) -> None:
        """Time one round of each; `at` and `beside` hold what was moved, and are deleted."""
        theirs_at = beside if beside is not None and beside != at.parent else at.parent / "theirs"
        self.ours.append(_timed(our, at, resource.RUSAGE_SELF))
        self.theirs.append(_timed(their, theirs_at, resource.RUSAGE_CHILDREN))

    def rates(self) -> tuple[float, float]:
        """Median MB/s."""
        return statistics.median(r for r, _ in self.ours), statistics.median(r for r, _ in self.theirs)

    def cpus(self) -> tuple[float, float]:
        """Median CPU, in ms a MB."""
        return statistics.median(c for _, c in self.ours), statistics.median(c for _, c in self.theirs)


def _timed(work: Callable[[Path], object], at: Path, who: int) -> tuple[float, float]:
    at.mkdir(parents=True, exist_ok=True)
    began, cpu = time.perf_counter(), _cpu_s(who)
    work(at)
    seconds, used = time.perf_counter() - began, _cpu_s(who) - cpu
    moved = sum(path.stat().st_size for path in at.iterdir()) / 1e6
    shutil.rmtree(at)
    return moved / seconds, 1000 * used / moved


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dcm"))


def _copies(series: Path, to: Path) -> Path:
    """Half of the series as new instances: a PACS may take one that it holds already for done."""
    to.mkdir(parents=True)
    for number, path in enumerate(_files(series)[: SLICES // 2]):
        ds = dcmread(path)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.SeriesInstanceUID += f".{to.name.encode().hex()[-8:]}".replace(".0", ".9").translate(_DIGITS)
        ds.save_as(to / f"{number:03d}.dcm", enforce_file_format=True)
    return to


_DIGITS = str.maketrans("abcdef", "123456")


def _our_get(pacs: Pacs, names: tuple[str, str], to: Path) -> None:
    with pacs.connected():
        listed = [record.sop_instance_uid for record in pacs.find_instances(*names)]
        pacs.retrieve(*names, listed, to)


def _getscu(port: int, names: tuple[str, str], to: Path, options: list[str]) -> None:
    keys = ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={names[0]}", f"SeriesInstanceUID={names[1]}"]
    words = [word for key in keys for word in ("-k", key)]
    _client("getscu", port, "-S", "-od", str(to), *options, words=words)


def _storescu(port: int, at: Path, options: list[str]) -> None:
    _client("storescu", port, *options, after=[str(path) for path in _files(at)])


def _client(program: str, port: int, *options: str, words: list[str] = [], after: list[str] = []) -> None:  # noqa: B006
    command = [str(_program(program)), "-aet", "GTRBATCH", "-aec", "ORTHANC", *options, *words, "127.0.0.1", str(port)]
    subprocess.run([*command, *after], check=True, capture_output=True)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


# --- night


def _night(scratch: Path, cases: int, shard: int, backbone: str) -> list[dict[str, Any]]:
    """Seconds a case and step, and associations a case."""
    from gtr_batch import night as steps
    from gtr_batch.db import migrate
    from gtr_batch.simulation.servers.services import embedded_postgres, load_files
    from gtr_batch.wiring import open_site
    from tests.fixtures_db import logins

    artefact = _artefact(scratch / "artefact", backbone)
    port, ours = free_port(), free_port()
    with (
        embedded_postgres(scratch / "postgres") as uri,
        orthanc(str(_program("Orthanc")), scratch / "orthanc", port, our_port=ours, options=["--verbose"]),
    ):
        migrate(uri)
        pacs = PacsConfig(port=port, called_ae_title="ORTHANC", commitment_port=ours)
        for number in range(cases):
            _admit(scratch / "dicom", uri, number)
            load_files(pacs, scratch / "dicom")
            shutil.rmtree(scratch / "dicom")
        config = Config(
            pacs=pacs,
            database=logins(uri),
            files=FilesConfig(root=scratch / "store", min_free_gb=0.01),
            intake=IntakeConfig(),
            stage=StageConfig(artefact=artefact, device="cpu"),
            night=NightConfig(shard_size=shard, settle_minutes=0),
        )
        log = scratch / "orthanc" / "orthanc.log"
        before = len(OPENED.findall(log.read_text()))
        with open_site(config) as site:
            spent = _Steps(cases)
            studies = spent.of("query", lambda: steps.query_pacs(site, NIGHT))
            shards = spent.of("intake", lambda: steps.intake(site, NIGHT, studies))
            for step in steps.SHARD_STEPS:
                spent.of(step.__name__, lambda step=step: [step(site, NIGHT, one) for one in shards])  # type: ignore[misc]
            summary = spent.of("close", lambda: steps.close_night(site, NIGHT))
        opened = len(OPENED.findall(log.read_text())) - before
    if summary["states"] != {"committed": cases}:
        raise SystemExit(f"the bench's night is not what it should be: {summary['states']} {summary.get('refusals')}")
    what = f"night of {cases} cases of three phases, shards of {shard}"
    rows = [_row(f"{what}: {name}, CPU against wall", cpu, wall, None, "s/case") for name, wall, cpu in spent.rows()]
    wall = sum(row["theirs"] for row in rows)
    rows.append(_row(f"{what}: whole, against {TARGETS['night_s']:g} s", wall, TARGETS["night_s"], 1.0, "s/case"))
    rows.append(_row(f"{what}: associations a case", opened / cases, 5.0, None, "associations"))
    return rows


@attrs.define
class _Steps:
    """Wall and CPU seconds by step."""

    cases: int
    spent: dict[str, tuple[float, float]] = attrs.field(factory=dict)

    def of(self, name: str, work: Callable[[], Any]) -> Any:
        """Do a step and note what it took."""
        began, cpu = time.perf_counter(), _cpu_s()
        answer = work()
        self.spent[name] = (time.perf_counter() - began, _cpu_s() - cpu)
        return answer

    def rows(self) -> list[tuple[str, float, float]]:
        """Step, wall and CPU seconds a case."""
        return [(name, wall / self.cases, cpu / self.cases) for name, (wall, cpu) in self.spent.items()]


def _artefact(folder: Path, backbone: str) -> Path:
    """A network with random weights, with its canary."""
    import torch

    from gtr_batch.domain.model import KeySliceLocator, ModelManifest, N4Settings, PreprocessingContract, RadScoreModel
    from gtr_batch.governance.canary import with_canary
    from gtr_batch.nomogram import paper_table_3
    from gtr_batch.stage import read_version, write_artefact
    from gtr_batch.stage.network import GTRNet

    torch.manual_seed(0)
    network = GTRNet(backbone=backbone).eval()
    count = 512 if backbone == "resnet10" else 2048
    weights = tuple(np.random.default_rng(0).normal(size=count))
    manifest = ModelManifest(
        name="random", architecture="gtrnet", backbone=backbone, feature_count=count, weights_sha256="",
        contract=PreprocessingContract(n4=N4Settings()), temperature=1.0,
        rad_score=RadScoreModel((1, 5), (0.0, 0.0), (1.0, 1.0), (0.5, 0.2)),
        nomogram=attrs.evolve(paper_table_3(), name="random"),
        key_slice_locator=KeySliceLocator((0.0,) * count, (1.0,) * count, weights),
    )  # fmt: skip
    write_artefact(folder, network, manifest)
    with_canary(folder, read_version(folder))
    return folder


def _admit(folder: Path, uri: str, number: int) -> None:
    """Write one patient's study of three phases, of 60 to 120 slices each, and enter the patient in the EHR."""
    import psycopg2

    patient = f"PHANTOM-{number:03d}"
    slices = 60 + (number * 37) % 61
    plain = abdomen_hu(1, seed=number)[0]
    noise = np.random.default_rng(number)
    y, x = np.mgrid[:512, :512] / 512 - 0.5
    aorta, liver = (x - 0.03) ** 2 + (y - 0.09) ** 2 < 0.02**2, ((x + 0.18) / 0.15) ** 2 + (y / 0.16) ** 2 < 1
    for phase, (title, (aorta_hu, liver_hu)) in enumerate(PHASES.items()):
        image = plain.copy()
        image[aorta] += aorta_hu - 150
        image[liver] += liver_hu - 110
        volume = (image + noise.normal(0, 2) for _ in range(slices))

        def become(_: int, ds: Any, title: str = title, phase: int = phase) -> None:
            ds.PatientID, ds.AccessionNumber = patient, f"ACC-{number:03d}"
            ds.SeriesDescription, ds.SeriesNumber = f"{title} 3.0", str(phase + 2)

        study = f"1.2.826.0.1.3680043.10.999.{number + 1}"
        write_series(
            folder / f"{number}-{phase}",
            volume,
            change=become,
            name=f"{number}-{phase}",
            study=study,  # type: ignore[arg-type]
        )
    from tests.fixtures_db import enter_patient

    connection = psycopg2.connect(uri)
    with connection, connection.cursor() as cursor:
        enter_patient(cursor, patient)
    connection.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--shard", type=int, default=SHARD)
    parser.add_argument("--backbone", choices=("resnet152", "resnet10"), default="resnet152")
    parser.add_argument("--lines-only", action="store_true")
    parser.add_argument("--night-only", action="store_true")
    given = parser.parse_args()
    logging.disable(logging.INFO)
    parts = {"lines": not given.night_only, "night": not given.lines_only}
    rows = measure(given.cases, given.shard, backbone=given.backbone, **parts)
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()

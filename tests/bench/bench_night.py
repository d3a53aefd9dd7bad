"""A whole night against Orthanc in one process, and the plain pipeline on the same cases, in one run.

``python -m tests.bench.bench_night [--cases 12 48] [--plain 3] [--out bench-night.json]`` (``make bench-night``).

The cases are phantoms of three phases, 60 or 120 slices of 512 x 512 each; the artefact is GTRNet on ResNet-152 with
random weights (the arithmetic is the same, the answers mean nothing). The night is query to close, canary left out,
with Orthanc and PostgreSQL on the same cores.

``theirs``: the plain pipeline, images on disk already, nothing sent: pydicom reads the portal venous series,
whole-volume SimpleITK prepares it (`bench_preprocess.theirs`), pytorch-grad-cam with its defaults on a ResNet-152
explains three slices. Its key slice is given; ours is marked in a key object (``--automatic``: has to be found).

With ``--line`` all bytes to and from the PACS go over one that carries so many MB a second, as a hospital's may.
With ``--airflow`` it runs through the real one (LocalExecutor, pools); processor time is the machine's then, and
memory is not taken.
With ``--workers`` each process gets its share of the cores for the network (``stage.threads``); the pools of Airflow
(two calls of the PACS, one network at once) are not imitated.

A moment of the night is *useful* where its process or the PACS computes (a fifth of a core or more) or bytes move on
the loopback interface (1 MB/s or more); what is left is waiting.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import attrs
import psycopg2
import pydicom
from attrs import frozen

from gtr_batch.config import Config, DatabaseConfig, FilesConfig, NightConfig, PacsConfig, StageConfig
from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.loopback import free_port
from gtr_batch.simulation.phantom.dicom import StudyIdentity, write_key_objects, write_phase
from gtr_batch.simulation.servers.postgres import EmbeddedPostgres
from gtr_batch.simulation.servers.services import load_files
from tests.adapters.pacs.peers import SlowLine, orthanc
from tests.fixtures_db import as_role, create_database, enter_patient

AE_TITLE = "ORTHANC"
FIRST_NIGHT = date(2026, 3, 2)
SLICES = (60, 120)  # of each of the three phases; every other case
PIECE = 64 * 1024  # bytes that a line carries at a time
ROOT = Path(__file__).resolve().parents[2]


@frozen
class Night:
    """What a night of `cases` cases took; seconds, megabytes."""

    cases: int
    wall_s: float
    cpu_s: float
    useful: float
    peak_mb: float
    states: dict[str, int]
    steps: dict[str, float]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", default=[12, 48])
    parser.add_argument("--plain", type=int, default=2, help="cases of the plain pipeline, half of each kind")
    parser.add_argument("--shard-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1, help="processes that take shards, as Airflow's tasks do")
    parser.add_argument("--airflow", action="store_true", help="through the real Airflow, a task a step and shard")
    parser.add_argument("--line", type=float, help="MB/s that the line to the PACS carries; default: no limit")
    parser.add_argument("--scratch", type=Path, help="where images, PACS and store lie; default the temporary folder")
    parser.add_argument(
        "--automatic", action="store_true", help="no key slice is marked: the network's features of every slice find it"
    )
    parser.add_argument("--templates", type=Path, help="phantoms: made there where it is empty, else taken from there")
    parser.add_argument("--out", type=Path, default=Path("bench-night.json"))
    given = parser.parse_args()
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None:
        parser.error("Orthanc is not installed (Debian: orthanc)")
    with tempfile.TemporaryDirectory(prefix="gtr-bench-night-", dir=given.scratch) as scratch:
        templates = given.templates or Path(scratch) / "templates"
        rows = measure(Path(scratch), program, templates, given)
    given.out.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{os.cpu_count()} cores, {platform.machine()}; written to {given.out}")


def measure(scratch: Path, program: str, made: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of ``bench-night.json``: name, ours, theirs, ratio, target, unit; each night itself under ``night``."""
    _say("phantoms ...")
    with ProcessPoolExecutor(len(SLICES), mp_context=get_context("spawn")) as pool:
        folders = [made / str(n) for n in SLICES]
        templates = list(pool.map(_template, folders, SLICES, range(len(SLICES))))
    artefact = _artefact(scratch / "artefact")
    plain_s = _seconds_of_plain_pipeline(templates, given.plain)
    _say(f"the plain pipeline: {plain_s:.1f} s a case")
    with ExitStack() as stack:
        config = stack.enter_context(
            _hospital(scratch, program, artefact, templates, [*given.cases, 1], given.shard_size, not given.automatic)
        )
        threads = max(1, (os.cpu_count() or 1) // given.workers) if given.workers > 1 else 0
        config = attrs.evolve(config, stage=attrs.evolve(config.stage, threads=threads))
        if given.line is not None:
            line = SlowLine(config.pacs.port, piece=PIECE, pause_s=PIECE / (given.line * 1e6))
            port = stack.enter_context(line.running()).port
            config = attrs.evolve(config, pacs=attrs.evolve(config.pacs, port=port))
        if given.airflow:
            from tests.bench.night_in_airflow import night_in_airflow, running

            run = partial(night_in_airflow, stack.enter_context(running(scratch, config)), config)
        else:
            run = partial(_in_a_process, scratch, config, given.workers)
        nights = []
        for number, cases in enumerate(given.cases):
            nights.append(run(FIRST_NIGHT + timedelta(days=number), cases))
            _say(_line(nights[-1]))
        urgent_s = None if given.airflow else _urgent(scratch, config, len(given.cases))
    return _rows(nights, plain_s, urgent_s)


def _rows(nights: list[Night], plain_s: float, urgent_s: float | None) -> list[dict[str, Any]]:
    first, largest = nights[0], nights[-1]
    case_s = largest.wall_s / largest.cases

    def row(name: str, ours: float, theirs: float, ratio: float, target: float | None, unit: str) -> dict[str, Any]:
        return {"name": name, "ours": ours, "theirs": theirs, "ratio": ratio, "target": target, "unit": unit}

    rows = [
        row("a case of the night, times faster than the plain pipeline", case_s, plain_s, plain_s / case_s, 15.0, "s"),
        row("a case of the largest night, against 3 s", case_s, 3.0, case_s / 3.0, 1.0, "s"),
    ]
    if urgent_s is not None:  # in one process, as the memory is
        urgent = "one study at once, from request to committed, against 30 s"
        rows += [
            row(urgent, urgent_s, 30.0, urgent_s / 30, 1.0, "s"),
            row(
                "peak memory, largest night against smallest",
                largest.peak_mb, first.peak_mb, largest.peak_mb / first.peak_mb, 1.1, "MB",
            ),
        ]  # fmt: skip
    rows += [
        row(f"useful share of a night of {n.cases}, faster is more", n.useful, 1.0, n.useful, 0.85, "of its seconds")
        for n in nights
    ]
    rows += [{"night": attrs.asdict(n)} for n in nights]
    for one in rows:
        if "name" in one:
            met = "met" if ("faster" in one["name"]) == (one["ratio"] >= one["target"]) else "missed"
            _say(
                f"{one['name']}: {one['ours']:.2f} / {one['theirs']:.2f} {one['unit']}, ratio {one['ratio']:.2f}: {met}"
            )
    return rows


def _line(night: Night) -> str:
    steps = ", ".join(f"{name} {seconds / night.cases:.2f}" for name, seconds in night.steps.items())
    return (
        f"{night.cases} cases: {night.wall_s:.1f} s, {night.wall_s / night.cases:.2f} s a case "
        f"(processor {night.cpu_s:.1f} s), "
        f"useful {night.useful:.2f}, peak {night.peak_mb:.0f} MB, {night.states}; seconds a case: {steps}"
    )


def _say(text: str) -> None:
    print(text, flush=True)


# What the hospital has.


def _template(folder: Path, slices: int, seed: int) -> Path:
    """One patient's study: three phases of `slices` slices."""
    if folder.is_dir():
        return folder
    from gtr_batch.domain.staging import TStage
    from gtr_batch.simulation.hospital.hospital import Hospital
    from gtr_batch.simulation.phantom.phantom import Phantom
    from gtr_batch.simulation.phantom.scanner import INGENUITY, Phase
    from gtr_batch.simulation.phantom.stomach import Third

    scanner = attrs.evolve(INGENUITY, slices=slices, thickness_mm=round(216 / slices, 1))
    patient = Hospital(11).patient(seed, FIRST_NIGHT)
    phantom = Phantom(11, seed, TStage.T3, Third.MIDDLE, 5.0, scanner)
    for number, phase in enumerate(Phase):
        write_phase(folder / str(number), phantom, patient.identity, phase)
    return folder


def _copy_of(template: Path, folder: Path, name: str, night: date, marked: bool) -> None:
    """The same images as another patient's study; the middle slice of the last phase in a key object where `marked`."""
    for path in sorted(template.rglob("*.dcm")):
        ds = pydicom.dcmread(path)
        ds.PatientID, ds.AccessionNumber, ds.PatientName = f"BENCH-{name}", f"ACC{name}", f"Phantom^{name}"
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = night.strftime("%Y%m%d")
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            setattr(ds, keyword, derived_uid("bench", name, str(ds[keyword].value)))
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        target = folder / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        ds.save_as(target)
    if marked:
        portal = sorted((folder / "2").glob("*.dcm"), key=lambda path: float(_header(path).ImagePositionPatient[2]))
        evidence = _header(portal[len(portal) // 2])
        at = datetime.combine(night, datetime.min.time()) + timedelta(hours=9)
        identity = StudyIdentity(
            f"BENCH-{name}", f"Phantom^{name}", "F", date(1960, 1, 1), f"ACC{name}", str(evidence.StudyInstanceUID), at
        )
        write_key_objects(folder / "100", evidence, identity)


def _header(path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True)


def _artefact(folder: Path) -> Path:
    """GTRNet on ResNet-152, random weights."""
    import numpy as np
    import torch

    from gtr_batch.domain.model import KeySliceLocator, ModelManifest, PreprocessingContract, RadScoreModel
    from gtr_batch.nomogram import paper_table_3
    from gtr_batch.stage import write_artefact
    from gtr_batch.stage.network import GTRNet

    torch.manual_seed(3)
    network = GTRNet("resnet152").eval()
    count = network.feature_count
    weights = tuple(float(w) for w in np.random.default_rng(3).normal(size=count) / count)
    manifest = ModelManifest(
        name="random", architecture="gtrnet", backbone="resnet152", feature_count=count, weights_sha256="",
        contract=PreprocessingContract(), temperature=1.0,
        rad_score=RadScoreModel((1, 5), (0.0, 0.0), (1.0, 1.0), (0.5, 0.2)),
        nomogram=attrs.evolve(paper_table_3(), name="random"),
        key_slice_locator=KeySliceLocator((0.0,) * count, (1.0,) * count, weights),
    )  # fmt: skip
    write_artefact(folder, network, manifest)
    return folder


@contextmanager
def _hospital(
    scratch: Path, program: str, artefact: Path, templates: list[Path], sizes: list[int], shard_size: int, marked: bool
) -> Iterator[Config]:
    """A PACS with a night of each size, one a day, and a database that knows the patients."""
    from gtr_batch.db import migrate

    port, our_port = free_port(), free_port()
    postgres = EmbeddedPostgres(scratch / "postgres")
    postgres.start()
    try:
        dsn = create_database(postgres.uri, "bench")
        migrate(dsn)
        pacs = PacsConfig(port=port, called_ae_title=AE_TITLE, commitment_port=our_port)
        with orthanc(program, scratch / "orthanc", port, ae_title=AE_TITLE, our_port=our_port) as process:
            (scratch / "orthanc.pid").write_text(str(process.pid))
            for number, cases in enumerate(sizes):
                night = FIRST_NIGHT + timedelta(days=number)
                _say(f"{cases} studies into the PACS ...")
                for k in range(cases):
                    name = f"{number}{k:04d}"
                    _admit(dsn, name)
                    _copy_of(templates[k % len(templates)], scratch / "dicom", name, night, marked)
                    load_files(pacs, scratch / "dicom")
                    shutil.rmtree(scratch / "dicom")
            yield Config(
                pacs=pacs,
                database=DatabaseConfig(dsn=as_role(dsn, "gtr_app"), governor_dsn=as_role(dsn, "gtr_governor")),
                files=FilesConfig(root=scratch / "store", min_free_gb=0.05),
                stage=StageConfig(artefact=artefact, device="cpu"),
                night=NightConfig(shard_size=shard_size, settle_minutes=0, look_back_days=0),
            )
    finally:
        postgres.delete()


def _admit(dsn: str, name: str) -> None:
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        enter_patient(cursor, f"BENCH-{name}")
    connection.close()


# A night, in a process of its own: its memory is not that of one before.


def _in_a_process(scratch: Path, config: Config, workers: int, night: date, cases: int) -> Night:
    import pickle

    job, answer = scratch / "job", scratch / "answer"
    job.write_bytes(pickle.dumps((config, night, cases, int((scratch / "orthanc.pid").read_text()), workers)))
    subprocess.run(
        [sys.executable, "-m", "tests.bench.bench_night_worker", str(job), str(answer)], cwd=ROOT, check=True
    )
    return Night(**json.loads(answer.read_text()))


def night_alone(config: Config, night: date, cases: int, pacs_pid: int, workers: int) -> Night:
    """Run the night in this process, or its shards in so many others, a shard through all steps in one."""
    from gtr_batch import night as steps
    from gtr_batch.wiring import open_site

    seconds: defaultdict[str, float] = defaultdict(float)
    with open_site(config) as site, ExitStack() as stack:
        warm(config)  # libraries and the page cache, which a night of any length pays once
        pool = stack.enter_context(ProcessPoolExecutor(workers, get_context("spawn"))) if workers > 1 else None
        pids = [os.getpid(), pacs_pid]
        if pool is not None:
            pids += {one.result() for one in [pool.submit(warm, config) for _ in range(2 * workers)]}
        watch = UsefulMoments(pids)
        ours = UsefulMoments(pids[:1] + pids[2:])  # without the PACS
        cpu, began = ours.processor_s(), time.perf_counter()
        with watch:
            studies = _timed(seconds, "query", lambda: steps.query_pacs(site, night))
            shards = _timed(seconds, "intake", lambda: steps.intake(site, night, studies))
            if pool is None:
                each = [shard_alone(config, night, shard, site) for shard in shards]
            else:
                each = [job.result() for job in [pool.submit(shard_alone, config, night, shard) for shard in shards]]
            for took in each:
                for name, s in took.items():
                    seconds[name] += s
            _timed(seconds, "close", lambda: steps.close_night(site, night))
        wall, cpu = time.perf_counter() - began, ours.processor_s() - cpu
        states: defaultdict[str, int] = defaultdict(int)
        for case in site.cases.of_night(night):
            states[str(case.state)] += 1
        peak = sum(_peak_mb(pid) for pid in pids[:1] + pids[2:])
    return Night(cases, wall, cpu, watch.share, peak, dict(states), dict(seconds))


def warm(config: Config) -> int:
    """Import what the steps need and read the weights once; returns the process's number."""
    from gtr_airflow.preload import import_libraries
    from gtr_batch import logs, night  # noqa: F401
    from gtr_batch.stage import load_artefact

    logs.configure(level="ERROR")
    import_libraries()
    load_artefact(config.stage.artefact)
    time.sleep(0.2)  # so that each worker of a pool takes one
    return os.getpid()


def shard_alone(config: Config, night: date, shard: list[str], site: Any = None) -> dict[str, float]:
    """Take a shard through all steps; returns the seconds of each."""
    from gtr_batch import night as steps
    from gtr_batch.wiring import open_site

    seconds: defaultdict[str, float] = defaultdict(float)
    with ExitStack() as stack:
        site = site or stack.enter_context(open_site(config))
        for step in steps.SHARD_STEPS:
            _timed(seconds, step.__name__, lambda step=step: step(site, night, shard))
    return dict(seconds)


def _timed(seconds: defaultdict[str, float], name: str, work: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    try:
        return work()
    finally:
        seconds[name] += time.perf_counter() - began


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


class UsefulMoments:
    """Looks, while its block runs, which moments were useful: of these processes, or (None) of the whole machine."""

    EVERY_S = 0.05
    CORE, BYTES_S = 0.2, 1e6

    def __init__(self, pids: Sequence[int] | None) -> None:
        self._pids = pids
        self._stop = threading.Event()
        self._moments: list[tuple[float, bool]] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> UsefulMoments:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def share(self) -> float:
        """Useful seconds of all seconds."""
        return sum(s for s, useful in self._moments if useful) / sum(s for s, _ in self._moments)

    def _watch(self) -> None:
        before = self._now()
        while not self._stop.wait(self.EVERY_S):
            now = self._now()
            seconds, cpu, moved = (b - a for a, b in zip(before, now, strict=True))
            self._moments.append((seconds, cpu / seconds >= self.CORE or moved / seconds >= self.BYTES_S))
            before = now

    def _now(self) -> tuple[float, float, float]:
        line = next(x for x in Path("/proc/net/dev").read_text().splitlines() if x.strip().startswith("lo:"))
        return time.perf_counter(), self.processor_s(), float(line.split(":")[1].split()[0])

    def processor_s(self) -> float:
        """Processor seconds of the processes so far."""
        return sum(map(_processor_s, self._pids)) if self._pids is not None else _processor_s_of_the_machine()


def _processor_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _processor_s_of_the_machine() -> float:
    user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def _urgent(scratch: Path, config: Config, number: int) -> float:
    """Seconds of `gtr night --accession`, the command's start and its libraries included, until it has committed."""
    settings = scratch / "gtr.toml"
    settings.write_text(_toml(config))
    began = time.perf_counter()
    command = [sys.executable, "-c", "from gtr_batch.cli import app; app()", "night", "--accession", f"ACC{number}0000"]
    done = subprocess.run(
        [*command, "--as-it-is", "--json"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "GTR_CONFIG": str(settings)},
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if done.returncode != 0 or "committed" not in done.stdout:
        raise RuntimeError(
            f"the urgent study was not committed ({done.returncode}): {done.stdout} {done.stderr[-2000:]}"
        )
    return seconds


def _toml(config: Config) -> str:
    pacs, database = config.pacs, config.database
    return "\n".join(
        [
            "[pacs]", f"port = {pacs.port}", f'called_ae_title = "{pacs.called_ae_title}"',
            f"commitment_port = {pacs.commitment_port}",
            "[database]", f"dsn = {json.dumps(database.dsn)}", f"governor_dsn = {json.dumps(database.governor_dsn)}",
            "[files]", f'root = "{config.files.root}"', "min_free_gb = 0.05",
            "[stage]", f'artefact = "{config.stage.artefact}"', 'device = "cpu"',
            "[night]", "settle_minutes = 0",
        ]
    )  # fmt: skip


# The plain pipeline.


def _seconds_of_plain_pipeline(templates: list[Path], cases: int) -> float:
    """Mean seconds of a case: read, prepare, explain."""
    import torch
    from torchvision.models import resnet152

    from tests.bench import bench_preprocess

    torch.manual_seed(3)
    network = resnet152(num_classes=4).eval()
    seconds = []
    for k in range(cases):
        portal = templates[k % len(templates)] / "2"
        began = time.perf_counter()
        headers = [pydicom.dcmread(path) for path in sorted(portal.glob("*.dcm"))]
        headers.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
        key = str(headers[len(headers) // 2].SOPInstanceUID)
        _explained(network, torch.from_numpy(bench_preprocess.theirs(portal, key)).float())
        seconds.append(time.perf_counter() - began)
    return statistics.mean(seconds)


def _explained(network: Any, slices: Any) -> Any:
    from pytorch_grad_cam import GradCAM

    with GradCAM(model=network, target_layers=[network.layer4[-1]]) as cam:
        return cam(input_tensor=slices[:, None].expand(-1, 3, -1, -1), targets=None)


if __name__ == "__main__":
    main()

"""The canary series through the night's own steps, and what they made of it.

Nothing of it is written outside a temporary folder: cases, nights and deliveries are in memory, and there is no PACS.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import numpy as np
from attrs import frozen

from gtr_batch.config import Config, StageConfig
from gtr_batch.domain.canary import CanaryAnswer, ReportContent, blocks
from gtr_batch.domain.case import Case, CaseState, Step
from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren, PatientFacts
from gtr_batch.domain.delivery import ObjectKind
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.prepared import PreparedGeometry
from gtr_batch.domain.staging import STAGES
from gtr_batch.errors import CaseRejected, CasesSentBack, CasesToRetry, ModelArtefactError
from gtr_batch.night import steps
from gtr_batch.night.absent import NoHold, NoSettingsHistory, NoShadows, NoSwitch
from gtr_batch.night.canary import series as drawn
from gtr_batch.night.inputs import heat_map, locator_in, prepared_geometry
from gtr_batch.night.memory import MemoryCases, MemoryDeliveries, MemoryNights, MemoryStudyLooks
from gtr_batch.night.site import Site
from gtr_batch.ports import ImageArchive, StopSwitch
from gtr_batch.writing import make_folder, write_bytes, write_json

if TYPE_CHECKING:
    from gtr_batch.stage import Artefact

_NIGHT = drawn.SCANNED_AT.date()
_STEPS = (steps.preprocess, steps.stage, steps.nomogram, steps.report)


class CanaryBroke(Exception):
    """The path did not come to its end with the canary; why stands in the message, without PHI."""


def answer_of(
    artefact: Artefact,
    series: Mapping[str, bytes],
    stage: StageConfig | None = None,
    switch: StopSwitch | None = None,
) -> CanaryAnswer:
    """Stage the canary series with a loaded model.

    Parameters
    ----------
    artefact : Artefact
        On the device that shall be tested.
    series : mapping
        DICOM files by SOP Instance UID.
    stage : StageConfig, optional
        Whose `batch_cases` and device; everything else that a site may set is at its default, so that the answer is
        the model's and not the site's.
    switch : StopSwitch, optional
        A service that is stopped stages no canary either.

    Raises
    ------
    CanaryBroke
        A step refused the series or failed with it.
    GpuOutOfMemory
        Something else lies in the GPU's memory; it may work later.
    """
    root = Path(tempfile.mkdtemp(prefix="gtr-canary-"))
    try:
        files = TemporaryFiles(root)
        case = _case(series)
        site = _site(artefact, files, case, stage or StageConfig(), switch or NoSwitch())
        folder = files.folder(case.night, case.case_id, Step.RETRIEVE)
        for uid, body in series.items():
            write_bytes(folder / f"{uid}.dcm", body)
        for step in _STEPS:
            _do(site, step, case.case_id)
        return _read(site, artefact, site.cases.get(case.case_id))
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _do(site: Site, step: Any, canary_id: str) -> None:
    with suppress(CasesToRetry, CasesSentBack):  # the case says it
        step(site, _NIGHT, [canary_id])
    case = site.cases.get(canary_id)
    if case.state in (CaseState.REFUSED, CaseState.FAILED):
        why = case.refusal.sentence if case.refusal else case.failure.error if case.failure else ""
        raise CanaryBroke(f"{step.__name__}: {why}")


def _case(series: Mapping[str, bytes]) -> Case:
    """The canary as a case that was retrieved and validated."""
    return Case(
        case_id=case_id(drawn.STUDY_UID, drawn.SERIES_UID),
        night=_NIGHT,
        study_uid=drawn.STUDY_UID,
        series_uid=drawn.SERIES_UID,
        patient_id=drawn.PATIENT,
        study_at=drawn.SCANNED_AT,
        expected_sop_uids=tuple(sorted(series)),
        state=CaseState.VALIDATED,
        reached=CaseState.VALIDATED,
    )


def _site(artefact: Artefact, files: TemporaryFiles, case: Case, stage: StageConfig, switch: StopSwitch) -> Site:
    site = Site(
        config=Config(stage=attrs.evolve(stage, abstain_level=0.0)),  # it is unlike any patient, and gets a stage
        archive=cast(ImageArchive, None),  # none of these steps asks a PACS
        nights=MemoryNights(artefact.version),
        cases=MemoryCases([case]),
        deliveries=MemoryDeliveries(),
        clinical=_Clinical(),
        files=files,
        model_store=_OneModel(artefact),
        clock=_Clock(),
        settings_history=NoSettingsHistory(),
        shadows=NoShadows(),
        hold=NoHold(),
        looks=MemoryStudyLooks(),
        switch=switch,
    )
    site.keep_loaded(artefact)
    return site


def _read(site: Site, artefact: Artefact, case: Case) -> CanaryAnswer:
    """What lies in the files and the case after the report."""
    at = (case.night, case.case_id)
    staging, score = site.cases.staging(case.case_id), site.cases.score(case.case_id)
    seen = site.cases.features(case.case_id, artefact.version)
    geometry = prepared_geometry(site.files, case)
    if staging is None or staging.t_stage is None or staging.probabilities is None or seen is None:
        raise CanaryBroke("stage: no stage was given")
    slices = site.files.read_arrays(*at, Step.PREPROCESS, "prepared")["slices"]
    return CanaryAnswer(
        model_version=artefact.version,
        slices=geometry.sop_instance_uids,
        intensity=(*geometry.facts["mean"], *geometry.facts["std"]),
        prepared=blocks(slices),
        locator=_locator_score(site, artefact, case),
        logits=_numbers(seen[1]),
        slice_probabilities=tuple(p for one in staging.slices for p in one.probabilities.values),
        probabilities=tuple(staging.probabilities.values),
        t_stage=str(staging.t_stage),
        heat=blocks(heat_map(site.files, case)),
        heat_of_classes=_heat_of_classes(artefact, slices, geometry),
        points=score.points["total"] if score else None,
        nomogram=tuple(score.probabilities.values) if score else (),
        report=_report(site, case),
    )


def _heat_of_classes(artefact: Artefact, slices: np.ndarray, geometry: PreparedGeometry) -> tuple[float, ...]:
    """Grad-CAM for each stage in turn: for the one that was voted there may be no heat at all on a phantom."""
    from gtr_batch.explain import GradCamForward
    from gtr_batch.stage import StagedCase, stage_shard

    explain, found = GradCamForward(artefact.network), []
    for position in range(len(STAGES)):
        one = stage_shard(artefact, {"": slices}, {"": geometry}, forward=_Explained(explain, position))[""]
        if not isinstance(one, StagedCase) or one.heat is None:
            raise CanaryBroke(f"explain: no heat map for {STAGES[position]}")
        found.append(one.heat)
    return blocks(np.concatenate(found))


@frozen
class _Explained:
    """A forward pass whose heat maps explain one class, whatever was voted."""

    forward: Any
    position: int

    def __call__(self, slices: Any, choose: Any) -> Any:
        return self.forward(slices, lambda logits: [self.position] * len(logits))


def _locator_score(site: Site, artefact: Artefact, case: Case) -> float | None:
    """The locator's largest score; which slice it would choose is not asked, since noise may turn a near tie."""
    from gtr_batch.preprocess import read_series

    volume = read_series(site.files.folder(case.night, case.case_id, Step.RETRIEVE), list(case.expected_sop_uids))
    locate = locator_in(artefact, volume)
    if locate is None:
        return None
    found = locate()
    if found is None or found.best_score is None:
        raise CanaryBroke("preprocess: the key slice locator found nothing")
    return float(found.best_score)


def _report(site: Site, case: Case) -> ReportContent:
    """The written objects, each read back; the SR also by the library that knows its template."""
    from highdicom.sr import srread

    from gtr_batch.reading import read_dicom
    from gtr_batch.report import codes

    folder = site.files.folder(case.night, case.case_id, Step.REPORT)
    objects, items = [], []
    for one in site.cases.objects(case.case_id):
        try:
            ds = read_dicom(folder / one.file)
            if one.kind == ObjectKind.STRUCTURED_REPORT:
                srread(folder / one.file)
                items = list(_items(ds))
        except (CaseRejected, ValueError, AttributeError, TypeError, KeyError) as err:
            raise CanaryBroke(f"report: {one.kind} cannot be read back ({type(err).__name__})") from err
        objects.append(f"{one.kind} {ds.SOPClassUID}")
    stages = [i.ConceptCodeSequence[0].CodeValue for i in items if _is(i, "CODE", codes.CT_CATEGORY)]
    by_code = {code.value: str(stage) for stage, code in codes.T_STAGE.items()}
    numbers = [i.MeasuredValueSequence[0].FloatingPointValue for i in items if _is(i, "NUM", codes.PROBABILITY)]
    contained = [by_code.get(value, value) for value in stages[:1]]
    return ReportContent(
        objects=objects,
        concepts=sorted({_named(item) for item in items if not _is(item, "CODE", codes.FLAG)}),  # a near tie is one
        t_stage=contained[0] if contained else "",
        probabilities=_numbers(numbers),
    )


def _items(item: Any) -> Iterator[Any]:
    """Content items, each before those that it contains."""
    for child in item.get("ContentSequence") or ():
        yield child
        yield from _items(child)


def _named(item: Any) -> str:
    name = (item.get("ConceptNameCodeSequence") or [None])[0]
    return f"{item.ValueType} {name.CodingSchemeDesignator} {name.CodeValue}" if name else str(item.ValueType)


def _is(item: Any, value_type: str, code: Any) -> bool:
    return _named(item) == f"{value_type} {code.scheme_designator} {code.value}"


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in np.ravel(values))


@frozen
class _OneModel:
    """Port `ModelStore` of the loaded model."""

    artefact: Any

    def champion(self) -> Path:
        return self.artefact.folder

    def all(self) -> list[Path]:
        return [self.artefact.folder]

    def find(self, version: str) -> Path | None:
        return self.artefact.folder if version == self.artefact.version else None

    def challengers(self) -> list[str]:
        return []


class _Clinical:
    """Port `ClinicalSource`: what the EHR would say of the canary; it also names the key slice."""

    def facts(self, patient_id: str, study_uid: str, on: date) -> PatientFacts | None:
        covariates = Covariates(4.0, Differentiation.MODERATE, Lauren.INTESTINAL)
        return PatientFacts(patient_id, True, covariates=covariates, key_slice_sop_uid=drawn.KEY_UID)

    def known(self, patient_ids: Collection[str]) -> frozenset[str]:
        return frozenset(patient_ids)

    def loaded_at(self) -> datetime | None:
        return datetime.now(UTC)


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class TemporaryFiles:
    """Port `FileStore` of one case in a folder that is deleted after."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, night: date, case_id: str, step: Step) -> Path:
        """The folder of a step."""
        return self.night_folder(night, str(Step(step)))

    def night_folder(self, night: date, name: str) -> Path:
        """A folder by name."""
        return make_folder(self._root / name)

    def write_json(self, night: date, case_id: str, step: Step, name: str, value: Any) -> Path:
        """Write ``<name>.json``."""
        return write_json(self.folder(night, case_id, step) / f"{name}.json", value)

    def read_json(self, night: date, case_id: str, step: Step, name: str) -> Any:
        """Read ``<name>.json``."""
        return json.loads((self.folder(night, case_id, step) / f"{name}.json").read_text())

    def write_arrays(self, night: date, case_id: str, step: Step, name: str, arrays: Mapping[str, np.ndarray]) -> Path:
        """Write ``<name>.npz``."""
        path = self.folder(night, case_id, step) / f"{name}.npz"
        np.savez(path, allow_pickle=False, **arrays)
        return path

    def read_arrays(self, night: date, case_id: str, step: Step, name: str) -> dict[str, np.ndarray]:
        """Read ``<name>.npz``."""
        with np.load(self.folder(night, case_id, step) / f"{name}.npz", allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}

    def free_bytes(self) -> int:
        """Free space."""
        return shutil.disk_usage(self._root).free

    def discard_pixels(self, before: date, spare: Collection[str] = ()) -> int:
        """Nothing: the folder goes as a whole."""
        return 0

    def discard_case(self, night: date, case_id: str) -> int:
        """Nothing."""
        return 0


def check_recordable(artefact: Artefact, answer: CanaryAnswer) -> None:
    """Refuse an answer that holds what is no number; raises `ModelArtefactError`."""
    numbers = (*answer.logits, *answer.prepared, *answer.heat_of_classes, *answer.probabilities)
    if not np.isfinite(numbers).all():
        raise ModelArtefactError(f"{artefact.folder}: the canary's answer holds values that are not finite")

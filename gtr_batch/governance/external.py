"""Another hospital's series, staged by a registered model: the paper's Table 2 for them, and what the gate would say.

Each series is judged and prepared as a night does it. Nothing is kept of a patient: the series are copied one by one
into a folder of their own, which is deleted, and what remains are counts and metrics.
"""

from __future__ import annotations

import csv
import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen

from gtr_batch import __version__
from gtr_batch.csv_rows import check_rows
from gtr_batch.domain.external import ExternalEvaluation, ExternalEvaluations
from gtr_batch.domain.gate import Judgement
from gtr_batch.domain.model_json import from_json, to_json
from gtr_batch.domain.staging import CaseStaging, KeySliceSource, TStage
from gtr_batch.errors import CannotTell, CaseRejected, GovernanceRefused, InputRefused
from gtr_batch.governance.criteria import Answers, Paired, redrawn
from gtr_batch.governance.gate import DRAWS, SEED, judge
from gtr_batch.governance.performance import performance
from gtr_batch.governance.registry import answered_for, check_registered
from gtr_batch.governance.site import GovernanceSite
from gtr_batch.logs import get_logger
from gtr_batch.night.inputs import locator_in
from gtr_batch.ports import ModelRegistry
from gtr_batch.reading import read_dicom
from gtr_batch.writing import copy_file, make_folder

if TYPE_CHECKING:
    from gtr_batch.stage.artefact import Artefact

KIND = "external"  # of the document that is kept with the model
COLUMNS = ("series_uid", "patient", "t_stage", "key_slice_sop_uid")  # the last one may be left out
Told = Callable[[int, int], None]  # series done, of how many


@frozen
class LabelledSeries:
    """One series with its patient, an id of the other hospital's choice, and the pathological stage."""

    series_uid: str = field(repr=False)
    patient: str = field(repr=False)
    t_stage: TStage
    key_slice_sop_uid: str = field(default="", repr=False)


@frozen(eq=False)
class _Answered:
    """What the models said of one series."""

    label: LabelledSeries
    own: CaseStaging
    champion: CaseStaging | None


def read_labels(path: Path) -> list[LabelledSeries]:
    """Read the labels: a CSV with the columns `COLUMNS`.

    Raises
    ------
    InputRefused
        Names row and column, and nothing that stands there.
    """
    check_rows(path)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = [row for row in csv.reader(stream) if any(value.strip() for value in row)]
    header = tuple(rows[0]) if rows else ()
    if header not in (COLUMNS, COLUMNS[:-1]):
        raise InputRefused(f"{path.name}: the header must be {','.join(COLUMNS)}; key_slice_sop_uid may be left out")
    found = [_label(path, number, [value.strip() for value in row]) for number, row in enumerate(rows[1:], 2)]
    if not found:
        raise InputRefused(f"{path.name}: no series is labelled")
    if len({one.series_uid for one in found}) < len(found):
        raise InputRefused(f"{path.name}: a series is labelled twice")
    return found


def _label(path: Path, number: int, values: Sequence[str]) -> LabelledSeries:
    series_uid, patient, stage, *rest = values
    for column, value in zip(COLUMNS[:2], (series_uid, patient), strict=True):
        if not value:
            raise InputRefused(f"{path.name}, row {number}: {column} is empty")
    if stage not in {*TStage, "T1a", "T1b", "T4a", "T4b"}:
        raise InputRefused(f"{path.name}, row {number}: t_stage must be T1, T1a, T1b, T2, T3, T4, T4a or T4b")
    return LabelledSeries(series_uid, patient, TStage(stage[:2]), *rest)


def evaluate_external(
    gov: GovernanceSite, version: str, *, dicom: Path, labels: Path, name: str, by: str, told: Told | None = None
) -> ExternalEvaluation:
    """Stage the labelled series of a folder, and keep what comes of it with the model.

    Parameters
    ----------
    version : str
        A registered model.
    dicom : Path
        Folder of DICOM files, in whatever order and depth.
    labels : Path
        See `read_labels`.
    name : str
        Of the cohort; one of this name that was evaluated before is replaced.
    by : str
        Who answers for it that none of these patients taught the model.
    told : callable, optional
        Is told how far it is.

    Raises
    ------
    InputRefused
        The labels cannot be used, or nobody answers for it.
    GovernanceRefused
        The model was withdrawn.
    CannotTell
        No series could be staged.
    """
    answered_for(by, f"evaluation on {name}")
    if not name.strip():
        raise InputRefused("name is empty: the card lists external cohorts by their names")
    wanted = read_labels(labels)
    check_registered(gov.registry, version)
    champion = gov.registry.champion()
    other = champion if champion not in (None, version) else None
    artefacts = [gov.night.artefact_by(one) for one in (version, other) if one]
    files = _files_of(dicom, {one.series_uid for one in wanted})
    answered, not_staged = [], Counter[str]()
    for done, label in enumerate(wanted, 1):
        try:
            answered.append(_staged(gov, artefacts, label, files.get(label.series_uid, [])))
        except CaseRejected as err:
            not_staged[err.code] += 1
        if told is not None:
            told(done, len(wanted))
    if not answered:
        why = ", ".join(f"{code} {count}" for code, count in sorted(not_staged.items()))
        raise CannotTell(f"none of the {len(wanted)} labelled series could be staged: {why}")
    stages, subjects = _labels(answered)
    own = _answers([one.own for one in answered])
    alone = redrawn(Paired(stages, subjects, own, own), DRAWS, SEED)[:, 0]
    found = ExternalEvaluation(
        name=name.strip(),
        model_version=version,
        series=len(wanted),
        staged=len(answered),
        patients=len(np.unique(subjects)),
        not_staged=dict(sorted(not_staged.items())),
        key_slices=dict(Counter(str(KeySliceSource(one.own.key_slice_source)) for one in answered)),
        performance=performance(stages, own, alone),
        champion=champion or "",
        gate=_gate(gov, answered),
        labels_sha256=hashlib.sha256(labels.read_bytes()).hexdigest(),
        code_version=__version__,
        evaluated=f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC",
        by=by.strip(),
    )
    gov.registry.attach(version, KIND, to_json(external_of(gov.registry, version).with_one(found)), by=by)
    get_logger("external").info("external.evaluated", model_version=version, staged=found.staged, of=found.series)
    return found


def external_of(registry: ModelRegistry, version: str) -> ExternalEvaluations:
    """The external cohorts that a model was evaluated on."""
    document = registry.document(version, KIND)
    if document is None:
        return ExternalEvaluations()
    try:
        return from_json(document, ExternalEvaluations)
    except (KeyError, TypeError, ValueError) as err:
        raise GovernanceRefused(
            f"the external evaluations that are kept of model {version[:12]} cannot be read ({type(err).__name__})"
        ) from err


def _files_of(folder: Path, series: set[str]) -> dict[str, list[Path]]:
    """The files of these series; what is no DICOM file is passed over."""
    if not folder.is_dir():
        raise InputRefused(f"there is no folder {folder}")
    found: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        try:
            ds = read_dicom(path, tags=["SeriesInstanceUID"], stop_before_pixels=True)
        except CaseRejected:
            continue
        uid = str(ds.get("SeriesInstanceUID") or "")
        if uid in series:
            found.setdefault(uid, []).append(path)
    return found


def _staged(
    gov: GovernanceSite, artefacts: Sequence[Artefact], label: LabelledSeries, files: Sequence[Path]
) -> _Answered:
    """A series, judged and staged as a night would; raises `CaseRejected` as that does."""
    from gtr_batch.validate import CaseFiles, validate_shard

    if not files:
        raise CaseRejected("series_incomplete", "The folder holds no file of the series.")
    root = gov.night.config.training.folder
    make_folder(root)
    with tempfile.TemporaryDirectory(prefix=".external.", dir=root) as scratch:
        folder = Path(scratch)
        for number, path in enumerate(files):
            copy_file(path, folder / f"{number:05d}.dcm")
        verdict = validate_shard([CaseFiles("series", folder)], gov.night.settings.validate)["series"]
        if verdict.fault is not None:
            raise verdict.fault
        if verdict.refusal is not None:
            raise CaseRejected(verdict.refusal.code, verdict.refusal.sentence, verdict.refusal.numbers)
        stagings = [_answer(artefact, folder, label) for artefact in artefacts]
    return _Answered(label, stagings[0], stagings[1] if len(stagings) > 1 else None)


def _answer(artefact: Artefact, folder: Path, label: LabelledSeries) -> CaseStaging:
    from gtr_batch.preprocess import find_key_slice, prepare_volume, read_series
    from gtr_batch.stage import stage_shard

    volume, contract = read_series(folder), artefact.manifest.contract
    key = find_key_slice(
        volume,
        ehr_sop_uid=label.key_slice_sop_uid or None,
        locator=locator_in(artefact, volume),
    )
    slices, geometry = prepare_volume(
        volume, volume.index(key.sop_instance_uid), contract, key.source, device=artefact.device
    )
    outcome = stage_shard(artefact, {"series": slices}, {"series": geometry})["series"]
    if isinstance(outcome, CaseRejected):
        raise outcome
    return outcome.staging


def _gate(gov: GovernanceSite, answered: Sequence[_Answered]) -> Judgement | None:
    """The gate's view of the model against the champion; None where there is nobody to compare with."""
    champions = [one.champion for one in answered if one.champion is not None]
    if not champions:
        return None
    stages, subjects = _labels(answered)
    own = _answers([one.own for one in answered])
    settings = gov.night.settings
    return judge(
        Paired(stages, subjects, own, _answers(champions)),
        settings.governance,
        tolerated_odds_ratio=settings.audit.tolerated_odds_ratio,
    )


def _labels(answered: Sequence[_Answered]) -> tuple[np.ndarray, np.ndarray]:
    stages = np.array([one.label.t_stage.position for one in answered], int)
    return stages, np.array([one.label.patient for one in answered], str)


def _answers(stagings: Sequence[CaseStaging]) -> Answers:
    # Every series is answered here, also one that a night would give no stage: the gate judges all patients.
    given = [(one.t_stage, one.probabilities) for one in stagings if one.t_stage and one.probabilities]
    if len(given) != len(stagings):
        raise ValueError(f"{len(stagings) - len(given)} of {len(stagings)} series have no stage")
    votes = np.array([stage.position for stage, _ in given], int)
    return Answers(votes, np.array([p.values for _, p in given], float).reshape(-1, 4))


def in_words(found: ExternalEvaluation) -> Mapping[str, str]:
    """Counts and why series were not staged, as the command prints them."""
    refused = ", ".join(f"{code} {count}" for code, count in found.not_staged.items())
    return {
        "staged": f"{found.staged} of {found.series} series, {found.patients} patients"
        + (f"; {refused}" if refused else ""),
        "key slices": ", ".join(f"{source} {count}" for source, count in found.key_slices.items()),
    }

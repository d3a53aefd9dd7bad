"""A case whose images, reports or study are not its patient's: told to operations at once."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from gtr_batch.domain.case import Case, Step
from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.errors import CaseRejected, GtrError
from gtr_batch.identity import read_identity
from gtr_batch.logs import get_logger
from gtr_batch.night.site import REFERENCE_MODALITIES, Site


@frozen
class References:
    """The key objects and segmentations of a case as they lie on disk: those of its patient and study, by modality."""

    own: dict[str, list[Path]]
    left_out: int = 0


def references(site: Site, case: Case) -> References:
    """What may name a key slice; what is of another patient or study, or does not say whose it is, is left out."""
    folder, identity = site.files.folder(case.night, case.case_id, Step.RETRIEVE), case.identity()
    own: dict[str, list[Path]] = {modality: [] for modality in REFERENCE_MODALITIES}
    left_out = 0
    for modality in REFERENCE_MODALITIES:
        for path in sorted((folder / modality).glob("*.dcm")):
            found = read_identity(path)
            if found is None or identity.differences(found):
                left_out += 1
            else:
                own[modality].append(path)
    return References(own, left_out)


def is_mismatch(error: BaseException) -> bool:
    """Whether an error says that something is not of the case's patient."""
    return isinstance(error, CaseRejected) and error.code == RefusalCode.IDENTITY_MISMATCH


def tell_operations(site: Site, case_id: str, step: Step, error: GtrError) -> None:
    """Where an error is an identity mismatch: an error in the log and an alert, at once and before the night ends.

    An alert that cannot be sent never stops a night: the log and the night's summary have it.
    """
    if not (isinstance(error, CaseRejected) and is_mismatch(error)):
        return
    log = get_logger(step)
    log.error("case.identity_mismatch", case_id=case_id, reason=error.sentence, **error.numbers)
    try:
        site.alert("Images of another patient", f"Case {case_id}, step {step}: {error.sentence}")
    except Exception as err:  # noqa: BLE001 - whatever carries alerts may fail in any way
        log.error("case.alert_not_sent", case_id=case_id, error=type(err).__name__)

"""Every error that this service raises, and what the caller does about it.

Three questions, three branches: may it work later, is it only this case, or is it us?

::

    GtrError
    ├── TransientError          may work later: retried, in minutes, by Airflow or the next run
    │   ├── PacsUnreachable
    │   ├── AssociationRefused      (transient rejection; a permanent one is DeliveryRefused or ConfigError)
    │   ├── AssociationLost         aborted, timed out or cut in the middle
    │   ├── PacsBusy                status 0xA7xx, out of resources
    │   ├── RetrieveIncomplete      instances promised by the PACS did not arrive this time
    │   ├── StillArriving           a study or series whose instances have not stood still yet: looked at again
    │   ├── CommitmentPending
    │   ├── DatabaseBusy
    │   ├── NoticeNotDelivered      operations could not be told by email or webhook; tried again by the next run
    │   ├── ReceiverUnreachable     the audit repository, RIS or FHIR server did not take what was sent
    │   ├── StorageFull
    │   ├── InputLost               a file of an earlier step is gone or cut: the case goes back to that step
    │   ├── GpuOutOfMemory
    │   └── CasesToRetry            raised at the end of a shard task that has such cases
    ├── CasesSentBack           raised at the end of a shard task whose cases went back to an earlier step
    ├── CaseRejected            only this case: recorded with its code, the night goes on (a refusal where the code
    │                           lies in the patient or the images, else a failure that is asked again)
    │   └── UnreadableFile          a file that is broken, or larger than what it is worth
    └── PermanentError          a person must mend something: fail now
        ├── ConfigError
        ├── ModelArtefactError
        ├── DeliveryRefused         the PACS refused the object and will refuse it again
        ├── ExtractRefused          an EHR extract is wrong; nothing of it was loaded
        ├── DatabaseRefused         the database will refuse this again: schema, rights, a value that does not fit
        ├── InputRefused            a value given by a person is nonsense
        ├── CannotTell              too few patients to train on, or to judge; nothing was spent
        ├── LeakFound               a split that shares patients, labels or rows; nothing was trained
        ├── ServiceStopped          a person has stopped the service; nothing is staged or sent until one resumes it
        ├── CanaryFailed            the model's own phantom series gives another answer here: no patient is staged
        ├── GovernanceRefused       a change of the registry that must not be, or came too late; nothing was changed
        └── NightFailed             close_night: cases failed beyond the night's tolerance

Messages say what was tried, on what, what came back and what follows. They hold UIDs and AE titles,
never names, PatientIDs, birth dates or whole datasets.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class GtrError(Exception):
    """Base of all errors of this service."""


class TransientError(GtrError):
    """It may work later: retry."""


class PacsUnreachable(TransientError):
    """No TCP connection, or no answer, from the PACS."""


class NoticeNotDelivered(TransientError):
    """A mail server or webhook did not take what operations are told."""


class ReceiverUnreachable(TransientError):
    """The audit repository, RIS or FHIR server does not answer, or went away before it had read everything."""


class AssociationRefused(TransientError):
    """The PACS rejected the association for now (for example: local limit exceeded)."""


class AssociationLost(TransientError):
    """The association was aborted, cut or timed out before its work was done."""


class PacsBusy(TransientError):
    """The PACS answered that it is out of resources (status 0xA7xx)."""


class RetrieveIncomplete(TransientError):
    """Instances that the PACS listed did not arrive."""


class StillArriving(TransientError):
    """A study or series whose instances have not stood still long enough; looked at again by a later run."""


class CommitmentPending(TransientError):
    """The PACS took the objects but has not committed them yet."""


class DatabaseBusy(TransientError):
    """The database is down, restarting, locked or out of connections."""


class StorageFull(TransientError):
    """No space or quota left in the file store."""


class InputLost(TransientError):
    """A file that an earlier step left is gone or cut: the case goes back, and the file is made again.

    Parameters
    ----------
    message : str
        Which file.
    back_to : str
        The `gtr_batch.domain.case.CaseState` after which it is made; the beginning where nothing else is said.
    """

    def __init__(self, message: str, back_to: str = "found") -> None:
        super().__init__(message)
        self.back_to = back_to


class GpuOutOfMemory(TransientError):
    """The batch does not fit into the GPU's free memory."""


class CasesToRetry(TransientError):
    """Some cases of a shard failed in a way that may work later; the others are done."""


class CasesSentBack(GtrError):
    """Cases of a shard went back to an earlier step: this task has nothing left to do, the night's next run has."""


class CaseRejected(GtrError):
    """This case cannot be staged.

    A refusal where the code lies in the patient or the images (`gtr_batch.domain.refusal.Subject`); what lies with us
    is recorded as a failure, and asked again.

    Parameters
    ----------
    code : str
        One of `gtr_batch.domain.refusal.RefusalCode`.
    sentence : str
        What is wrong, in a sentence for the radiologist or operator, with the numbers; no PHI.
    numbers : mapping
        The measured values behind the sentence, JSON-able.
    """

    def __init__(self, code: str, sentence: str, numbers: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = str(code)
        self.sentence = sentence
        self.numbers = dict(numbers or {})


class UnreadableFile(CaseRejected):
    """A DICOM file that cannot be read, or would cost more than any real one does.

    Parameters
    ----------
    why : str
        What is wrong with it, beginning with a verb; no PHI.
    dicom : bool
        Whether it claims to be a DICOM file.
    """

    def __init__(self, why: str, *, dicom: bool = True) -> None:
        super().__init__("unreadable_pixels", f"A file of the series {why}.")
        self.why = why
        self.dicom = dicom


class CaseTakenOver(GtrError):
    """Another night, or another try, has moved the case on meanwhile: what this one found of it is not written."""


class PermanentError(GtrError):
    """A person must mend something; a retry would fail the same way."""


class ConfigError(PermanentError):
    """A setting is missing, unknown or impossible."""


class ModelArtefactError(PermanentError):
    """The model artefact is missing, corrupted or not what its manifest says."""


class DeliveryRefused(PermanentError):
    """The PACS refused an object for good.

    Parameters
    ----------
    message : str
        What was tried and what came back.
    status : int or None
        DIMSE status, where there was one.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ExtractRefused(PermanentError):
    """An EHR extract failed its checks; nothing of it was loaded."""


class DatabaseRefused(PermanentError):
    """The database refused a statement or a migration for good; never holds the row's values."""


class InputRefused(PermanentError):
    """A value given on the command line or in a form is not possible."""


class CannotTell(PermanentError):
    """Too few patients for an answer; said before anything expensive is done."""


class LeakFound(PermanentError):
    """Training and test would share patients, slices or rows; nothing was trained."""


class GovernanceRefused(PermanentError):
    """A promotion, rollback or withdrawal that must not be, or whose ground has changed; nothing was changed."""


class ServiceStopped(PermanentError):
    """A person has stopped the service: nothing is staged and nothing is sent."""


class CanaryFailed(PermanentError):
    """The model's own phantom series did not give the recorded answer on this machine: no patient is staged."""


class NightFailed(PermanentError):
    """More cases failed than the night tolerates."""


def fault_of(err: BaseException) -> str:
    """What went wrong, as it may stand in a log, a summary or the database.

    An error of ours speaks for itself. Of any other only its class and its place are told: the text of a library's
    error may quote what stands in a header.
    """
    if isinstance(err, GtrError):
        return f"{type(err).__name__}: {err}"
    frames = [(Path(f.filename), f.lineno) for f in traceback.extract_tb(err.__traceback__)]
    if not frames:
        return f"unexpected {type(err).__name__}"
    ours = [frame for frame in frames if "gtr_batch" in frame[0].parts]
    places = dict.fromkeys([frames[-1], *ours[-1:]])
    return f"unexpected {type(err).__name__} at {', under '.join(f'{path.name}:{line}' for path, line in places)}"

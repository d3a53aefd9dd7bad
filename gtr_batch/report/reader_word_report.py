"""What a reader says of a result, as a structured report of its own that refers to the AI's.

It follows the pattern of IHE's AI Result Assessment and claims no conformance to it: who agrees accepts, who overrules
modifies, since nobody rejects a stage here without giving another. It is the reader's word and not the AI's: its
observer is a person, and nothing in it calls it an AI result. It is UNVERIFIED all the same: the console knows an
account that was signed in, and nobody has signed the document.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from attrs import frozen
from highdicom.sr import (
    CompositeContentItem,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes as dicom
from pydicom.sr.coding import Code

from gtr_batch import __version__
from gtr_batch.config import ReportConfig
from gtr_batch.domain.case import Case
from gtr_batch.domain.delivery import ObjectKind, ReportObject
from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.domain.reader_word import WordKind, WordToSend
from gtr_batch.report import codes
from gtr_batch.report.codes import concept
from gtr_batch.report.context import Context
from gtr_batch.report.identity import Author, write_object
from gtr_batch.report.inherited import inherit
from gtr_batch.report.measurement_report import document, evaluation, tracking
from gtr_batch.report.quiet import quiet
from gtr_batch.report.withdrawal_report import read_report

_ASSESSMENTS = {
    WordKind.AGREE: codes.ACCEPTED,
    WordKind.OVERRULE: codes.MODIFIED,
    WordKind.SLICE_CONFIRMED: codes.ACCEPTED,
    WordKind.SLICE_MOVED: codes.MODIFIED,
    WordKind.WITHDRAWN: codes.TAKEN_BACK,
}
_LONGEST_NAME = 64  # of a component group of PN


@frozen
class _Console(Author):
    """The software by which the reader spoke; no model."""

    @property
    def software_versions(self) -> tuple[str, ...]:
        """*Software Versions* (0018,1020): this service's."""
        return (__version__,)


@quiet()
def write_reader_word(
    folder: Path, *, case: Case, report_file: Path, word: WordToSend, said_at: datetime, config: ReportConfig
) -> ReportObject:
    """Write a reader's word.

    Patient and study are copied from the AI's report. It is dated by the word: written again, it is the same object,
    byte for byte.

    Parameters
    ----------
    folder : Path
        Where it goes.
    report_file : Path
        The AI's report that the word is about.
    said_at : datetime
        Hospital time of the word.

    Raises
    ------
    PermanentError
        The file is no such report.

    References
    ----------
    IHE RAD, AI Result Assessment; DICOM PS3.16, TID 1500 and TID 1003; PS3.3, C.17.2 (Predecessor Documents)
    """
    old = read_report(report_file, word.report, case)
    author = _Console(
        derived_uid("device", "reader word"),
        "gtr-batch, readers' words",
        config.manufacturer[:64],
        "reader word",
        config.institution[:64],
    )
    context = Context(case, author, (inherit(old)[0],), said_at, config)
    previous = [] if word.previous is None else [word.previous]
    return write_object(folder, build_reader_word(context, word), ObjectKind.READER_WORD, previous=previous)[0]


def build_reader_word(context: Context, word: WordToSend) -> Dataset:
    """The document: the assessment, the stage or the key slice where the reader gives another, and what it is about."""
    evaluations = [evaluation(_name(word), _ASSESSMENTS[word.kind])]
    if word.t_stage is not None:
        evaluations.append(evaluation(codes.CT_CATEGORY, codes.T_STAGE[word.t_stage]))
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking(context, f"{_name(word).meaning}: {word.reader}"),
        finding_type=concept(codes.READER_WORD),
        qualitative_evaluations=evaluations,
    )
    content, contains = group[0].ContentSequence, RelationshipTypeValues.CONTAINS
    content.append(
        CompositeContentItem(
            name=concept(codes.ASSESSED_RESULT),
            referenced_sop_class_uid=word.report.sop_class_uid,
            referenced_sop_instance_uid=word.report.sop_instance_uid,
            relationship_type=contains,
        )
    )
    if word.key_slice is not None:
        name = concept(codes.READERS_KEY_SLICE)
        content.append(UIDRefContentItem(name=name, value=word.key_slice, relationship_type=contains))
    if word.with_why and word.why:
        content.append(TextContentItem(name=concept(codes.COMMENT), value=word.why, relationship_type=contains))
    person = ObserverContext(dicom.DCM.Person, PersonObserverIdentifyingAttributes(name=person_name(word.reader)))
    observation = ObservationContext(observer_person_context=person)
    ds = document(context, [group], library=False, observation=observation, kind=ObjectKind.READER_WORD)
    ds.InstanceNumber = word.number % 2**31
    return ds


def person_name(account: str) -> str:
    """An account as a Person Name (PS3.5, 6.2): without what parts its components, and no longer than one may be."""
    plain = "".join(" " if c in "^=\\" or not c.isprintable() else c for c in account)
    return " ".join(plain.split())[:_LONGEST_NAME].strip() or "not known"


def _name(word: WordToSend) -> Code:
    return codes.ASSESSED_SLICE if word.about_slice else codes.ASSESSMENT

"""What the steps and the night need of the world, named for the need and not for the library behind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gtr_batch.domain.access import AccessEvent, WaitingEvent
from gtr_batch.domain.approval import Answer, AskedQuestion, Question
from gtr_batch.domain.audit import AuditCase
from gtr_batch.domain.audit_run import Alarm, AuditKind, AuditRecord, RaisedAlarm
from gtr_batch.domain.canary import CanaryEvent
from gtr_batch.domain.case import Case, Selected, Step
from gtr_batch.domain.clinical import PatientFacts
from gtr_batch.domain.cohort import Candidate, CohortManifest, HoldoutLook, HoldoutOpening, Member
from gtr_batch.domain.console import (
    CaseReader,
    ConsoleAudit,
    ConsoleCase,
    ConsoleNight,
    ConsolePatient,
    WorklistFilter,
    WorklistPage,
    WorklistPlace,
)
from gtr_batch.domain.delivery import Commitment, Predecessor, ReportObject, StoreReceipt
from gtr_batch.domain.governed_settings import NightOpening, SettingChange, SettingValue
from gtr_batch.domain.identity import SeriesIdentity
from gtr_batch.domain.lifecycle import ChampionEvent, Change, ModelRecord, RegisteredModel, RegistryEvent, ReportOfModel
from gtr_batch.domain.notice import NightState, Notice, WaitingNotice
from gtr_batch.domain.patient_merge import PatientMerge
from gtr_batch.domain.reader_word import KeptWord, NewWord, OwnStage, Reader, ResultInQuestion, WaitingWords, WordToSend
from gtr_batch.domain.replay import KeptComparison, ReplayApproval
from gtr_batch.domain.result_message import (
    Channel,
    ListedMessage,
    ReceiverAnswer,
    ResultMessage,
    SendingState,
    Waiting,
)
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.series import InstanceRecord, SeriesRecord, StudyRecord
from gtr_batch.domain.shadow import ShadowAnswer
from gtr_batch.domain.slice_confirmation import SliceConfirmation
from gtr_batch.domain.staging import CaseStaging, TStage
from gtr_batch.domain.step_record import StepRecord
from gtr_batch.domain.study_look import StudyLook
from gtr_batch.domain.switch import SwitchAction, SwitchEvent

Progress = Callable[[int, int], None]  # done, total


class ImageArchive(Protocol):
    """The PACS. Every method raises `TransientError` (unreachable, refused, lost, busy) or `PermanentError`."""

    def connected(self, to_store: Sequence[Path] = ()) -> AbstractContextManager[None]:
        """Share one association among the calls that this thread makes in the block; outside, each opens its own.

        One that the PACS closed between two calls is opened again. `to_store`: files that the block may send.
        """

    def echo(self) -> None:
        """Whether the PACS answers: C-ECHO, or a QIDO-RS of one answer."""

    def refused_services(self, *, pdf: bool = False, retrieve: bool = True, store: bool = True) -> list[str]:
        """What the PACS refuses of the services that a night needs, by name; nothing is fetched or stored.

        `pdf`: pages are sent too (`ReportConfig.pdf`). `retrieve`, `store`: which of the two is needed. Empty where a
        service can only be tried by using it (DICOMweb).
        """

    def find_studies(self, start: datetime, end: datetime, modality: str = "CT") -> list[StudyRecord]:
        """Studies with ``start <= study date and time < end``, each once, also where the PACS caps its answers."""

    def find_study(self, study_uid: str) -> list[StudyRecord]:
        """A study as the PACS lists it now, once for each patient that it is listed under; empty where it is not."""

    def find_accession(self, accession_number: str) -> list[StudyRecord]:
        """The studies of an accession number, each once for each patient that it is listed under; empty where none is.

        Raises
        ------
        InputRefused
            The value would mean other studies too (`gtr_batch.domain.identifiers.AccessionNumber`).
        PermanentError
            The PACS does not look at accession numbers. No message holds the number.
        """

    def find_series(self, study_uid: str) -> list[SeriesRecord]:
        """All series of a study.

        Raises
        ------
        CaseRejected
            ``identity_mismatch``: the PACS answers with nothing but series of other studies.
        """

    def find_instances(self, study_uid: str, series_uid: str) -> list[InstanceRecord]:
        """All instances of a series; raises as `find_series`."""

    def retrieve(
        self,
        study_uid: str,
        series_uid: str,
        expected: Sequence[str],
        folder: Path,
        progress: Progress | None = None,
        *,
        identity: SeriesIdentity | None = None,
    ) -> list[Path]:
        """Fetch the `expected` SOP Instance UIDs of a series into `folder` as ``<SOP Instance UID>.dcm``.

        Asks for the whole series where `expected` is all of it, else for the instances. Files that are whole and there
        already are not fetched again; a file appears under its name only when it is whole. Only expected instances are
        written, and only those whose header agrees with `identity` (default: study and series); a file that is there
        already and does not agree is deleted and fetched anew.

        Raises
        ------
        CaseRejected
            ``identity_mismatch``: an instance arrived that is of another patient, study, series or SOP class.
        RetrieveIncomplete
            Some promised instances did not arrive; names how many and the first three.
        """

    def store(self, files: Sequence[Path], note: Callable[[StoreReceipt], None] | None = None) -> list[StoreReceipt]:
        """Store all: by C-STORE over one association, or by one STOW-RS; `note` gets each receipt as it comes.

        Raises `PacsBusy`, `AssociationLost`, and after the other files `DeliveryRefused` with the status code.
        """

    def commit(self, objects: Sequence[tuple[str, str]], timeout_s: float) -> Commitment:
        """Storage commitment for (SOP Class UID, SOP Instance UID); `CommitmentPending` on time-out."""

    def present(
        self, study_uid: str, series_uid: str, sop_uids: Sequence[str], identity: SeriesIdentity | None = None
    ) -> frozenset[str]:
        """Which of these instances the PACS has now: those that C-FIND lists; or that QIDO-RS lists and WADO-RS shows.

        Raises
        ------
        CaseRejected
            ``identity_mismatch``: the header that WADO-RS shows is not of this series, nor of `identity`.
        """


class Nights(Protocol):
    """The nights: when each was opened, with which model, and how it ended."""

    def open(self, night: date, model_version: str) -> None:
        """Note that a night begins (or begins again)."""

    def model_of(self, night: date) -> str:
        """Version of the model that a night was opened with last; empty where it was never opened."""

    def close(self, night: date, summary: Mapping[str, Any]) -> None:
        """Write the night's summary."""

    def summary(self, night: date) -> Mapping[str, Any] | None:
        """What `close` wrote."""

    def last(self) -> date | None:
        """The latest night that was opened."""

    def since(self, at: datetime) -> list[NightState]:
        """The nights that were opened, begun again or closed since then, in order."""


class NoticeChannel(Protocol):
    """A way to tell operations."""

    name: str

    def deliver(self, notice: Notice) -> None:
        """Send one notice; raises `NoticeNotDelivered`."""


class Notices(Protocol):
    """What operations are told: each event once, over each channel once."""

    def raise_(self, notice: Notice, channels: Sequence[str]) -> bool:
        """Note an event and the channels that it is to go out over; False where it is known already."""

    def send(self, channel: NoticeChannel) -> int:
        """Send what has not gone out over a channel, oldest first; returns how many went out.

        Raises
        ------
        NoticeNotDelivered
            Some did not: all were tried, and the next call tries those again.
        """

    def waiting(self) -> Sequence[WaitingNotice]:
        """What has not gone out yet, oldest first."""

    def note_look(self, at: datetime) -> None:
        """Note that somebody looked at the nights."""

    def last_look(self) -> datetime | None:
        """When somebody looked last; None where nobody ever did."""


class ResultReceiver(Protocol):
    """A system outside that is told of results: the RIS, a FHIR server."""

    channel: Channel
    lease_s: float  # how long one message may take at most

    def connect(self) -> None:
        """Be ready to send; raises `ReceiverUnreachable`, and then nothing was sent."""

    def send(self, message: ResultMessage) -> ReceiverAnswer:
        """Send one message and wait for the answer; one that does not come is an answer too (`NOT_NOW`).

        Raises
        ------
        ReceiverUnreachable
            There was no connection: nothing was sent.
        InputRefused
            The message cannot be written, whoever receives it; says which element, never its value.
        """

    def close(self) -> None:
        """End the connection."""


class ResultMessages(Protocol):
    """What other systems are told of results: written with what it tells, each version to each system once."""

    def claim(self, channel: Channel, seconds: float) -> ResultMessage | None:
        """The message that is due longest, its try noted; nobody else gets it for so many seconds.

        Never one of which an earlier version waits, nor a result of a model that was withdrawn.
        """

    def end(self, message: ResultMessage, channel: Channel, state: SendingState, answer: str) -> None:
        """Note that a message was taken, or is a dead letter."""

    def wait(self, message: ResultMessage, channel: Channel, seconds: float, answer: ReceiverAnswer) -> None:
        """Note that a message is tried again in so many seconds."""

    def waiting(self, channel: Channel) -> Waiting:
        """How many wait, are due and are dead letters."""

    def listed(self, states: Sequence[SendingState], most: int) -> Sequence[ListedMessage]:
        """Messages in these states, newest first."""

    def newest_version(self, case_id: str) -> int:
        """The newest version of a case that was written; 0 where there is none."""

    def resend(self, message_id: int, channel: Channel, *, by: str, why: str) -> None:
        """Have a message sent once more.

        Raises
        ------
        InputRefused
            There is none, it waits anyway, or a later version of its case exists; nothing is changed.
        """


class PatientMerges(Protocol):
    """What the RIS said of merged patients: append-only, in the order in which it came."""

    def receive(self, sender: str, control_id: str, said: Sequence[PatientMerge], *, peer: str) -> bool:
        """Keep what one message says, all of it or nothing; False where it came before.

        Raises
        ------
        InputRefused
            The message came before and said something else, or it contradicts one before; nothing is kept.
        """

    def merges(self, patient_ids: Sequence[str]) -> Sequence[PatientMerge]:
        """Every merge that these may have gone through, in the order in which they came."""

    def merged_patients(self) -> Sequence[str]:
        """PatientIDs of cases that were ever merged into others."""

    def note_case(self, case_id: str, merge_id: int) -> None:
        """Note that a case has another PatientID by a merge."""


class Cases(Protocol):
    """All cases with their states, events and results. A step writes its case once: all of it, or nothing."""

    def record(self, cases: Sequence[Case], selections: Mapping[str, Selected] | None = None) -> list[str]:
        """Write newly found cases, each with how its series was selected; returns the ids that were new.

        One already there keeps its state and night; where it has no selection yet, it gets this one. A study gets one
        series: where another one was chosen before, this one is not written.
        """

    def step(self, case_id: str, step: Step) -> AbstractContextManager[StepRecord]:
        """A record to fill: what is in it at the end of the block is written in one transaction with its event.

        A block that raises writes nothing. KeyError where there is no such case, CaseTakenOver where it is not as the
        record says that it was seen.
        """

    def get(self, case_id: str) -> Case:
        """One case; KeyError where there is none."""

    def of_night(self, night: date) -> list[Case]:
        """All cases of a night, in a stable order."""

    def of_accessions(self, accession_numbers: Sequence[str]) -> list[Case]:
        """All cases of these accession numbers, in a stable order."""

    def of_study(self, study_uid: str) -> list[Case]:
        """All cases of a study, of whatever night, in a stable order."""

    def of_patients(self, patient_ids: Sequence[str]) -> list[Case]:
        """All cases of these PatientIDs, whoever issued them, in a stable order."""

    def of_studies(self, study_uids: Sequence[str]) -> Mapping[str, list[Case]]:
        """All cases of each of these studies; one without a case is left out."""

    def uncommitted(self, before: date) -> list[Case]:
        """Cases of nights before `before` that the PACS has taken and not committed, in a stable order."""

    def unfinished(self, before: date) -> list[Case]:
        """Cases of nights before `before` that are neither committed nor refused, in a stable order."""

    def select(self, case_ids: Sequence[str]) -> list[Case]:
        """These cases, in the order of `case_ids`."""

    def selection(self, case_id: str) -> Selected | None:
        """How the case's series was selected; None where intake has not written it."""

    def staged_before(self, series_uids: Sequence[str], model_version: str) -> frozenset[str]:
        """Which of these series already have a result (staged or beyond) of this model version."""

    def staging(self, case_id: str) -> CaseStaging | None:
        """The staging that the case carries, with every flag of the result."""

    def facts(self, case_id: str) -> Mapping[str, Any] | None:
        """What validation measured of the series."""

    def features(self, case_id: str, model_version: str) -> tuple[np.ndarray, np.ndarray] | None:
        """What a model saw: the key slice's features (D,) and the slices' logits (3, 4), float32."""

    def score(self, case_id: str) -> NomogramScore | None:
        """The nomogram's answer on the staging that the case carries."""

    def objects(self, case_id: str) -> list[ReportObject]:
        """The newest objects of a case, one a kind."""

    def events(self, case_id: str) -> list[Mapping[str, Any]]:
        """A case's events, oldest first: ``at``, ``step``, ``state``, ``detail``."""


class StudyLooks(Protocol):
    """How many instances of a study the PACS listed when we looked."""

    def note(self, study_uid: str, counts: Mapping[str, int], at: datetime) -> StudyLook:
        """Note what a look saw, by Series Instance UID; returns it with the time since which looks saw the same."""

    def of(self, study_uids: Sequence[str]) -> Mapping[str, StudyLook]:
        """The last look at each of these studies; those that nobody looked at are left out."""


class Deliveries(Protocol):
    """What the PACS said of our objects, noted at once: a step that is cut off later has sent them all the same."""

    def note_receipts(self, case_id: str, receipts: Sequence[StoreReceipt]) -> None:
        """Note what the PACS said of each C-STORE."""

    def stored(self, case_id: str) -> frozenset[str]:
        """SOP Instance UIDs of this case that the PACS took."""

    def note_commitment(self, case_id: str, commitment: Commitment, read_back: frozenset[str]) -> None:
        """Note what the PACS committed, or what C-FIND listed where it offers no commitment."""

    def commitments(self, case_id: str) -> list[tuple[Commitment, frozenset[str]]]:
        """What `note_commitment` wrote, the latest last: of each transaction what was noted last."""


class ClinicalSource(Protocol):
    """The EHR extracts, in Postgres."""

    def facts(self, patient_id: str, study_uid: str, on: date) -> PatientFacts | None:
        """What the EHR says of a patient as of a study date; None where the patient is unknown."""

    def known(self, patient_ids: Sequence[str]) -> frozenset[str]:
        """Which of these patients the EHR knows."""

    def loaded_at(self) -> datetime | None:
        """When extracts were loaded last; None where none ever was."""


class FileStore(Protocol):
    """Files of a night, by case and step; folders 0700, files 0600, every write atomic."""

    def folder(self, night: date, case_id: str, step: Step) -> Path:
        """The folder of a case's step, made where it is absent."""

    def night_folder(self, night: date, name: str) -> Path:
        """A folder of the night itself (Data Docs, summaries)."""

    def write_json(self, night: date, case_id: str, step: Step, name: str, value: Any) -> Path:
        """Write ``<name>.json``."""

    def read_json(self, night: date, case_id: str, step: Step, name: str) -> Any:
        """Read ``<name>.json``; FileNotFoundError where there is none."""

    def write_arrays(self, night: date, case_id: str, step: Step, name: str, arrays: Mapping[str, np.ndarray]) -> Path:
        """Write ``<name>.npz`` (no pickle)."""

    def read_arrays(self, night: date, case_id: str, step: Step, name: str) -> dict[str, np.ndarray]:
        """Read ``<name>.npz``."""

    def free_bytes(self) -> int:
        """Free space."""

    def discard_pixels(self, before: date, spare: Collection[str] = ()) -> int:
        """Delete the fetched and prepared pixels of nights and replays before `before`; returns bytes freed.

        Those of the cases `spare` stay.
        """

    def discard_case(self, night: date, case_id: str) -> int:
        """Delete the same of one case; returns bytes freed."""


class ModelStore(Protocol):
    """Where model artefacts lie."""

    def champion(self) -> Path:
        """Folder of the artefact that stages tonight.

        Raises
        ------
        ModelArtefactError
            There is none: the champion was withdrawn without a successor, or its files are gone.
        """

    def all(self) -> list[Path]:
        """Folders of all artefacts, champion first."""

    def find(self, version: str) -> Path | None:
        """Folder of a version; None where it is not known here, or was withdrawn."""

    def challengers(self) -> list[str]:
        """Versions that stage in shadow."""


class CohortSource(Protocol):
    """Operated patients and their staged series; no PatientID leaves it."""

    def candidates(self) -> list[Candidate]:
        """Every operated patient, once for each staged series, or once without."""


class CohortBook(Protocol):
    """Frozen cohorts. The holdout goes in and comes out only by `open_holdout`."""

    def freeze(self, manifest: CohortManifest, holdout: Sequence[Member]) -> None:
        """Keep a cohort and seal its holdout; the same cohort again changes nothing."""

    def cohort(self, digest: str) -> CohortManifest:
        """A cohort; KeyError where there is none."""

    def sealed_subjects(self) -> frozenset[str]:
        """Who was ever in a holdout."""

    def trained_subjects(self) -> frozenset[str]:
        """Who was ever in a train or validation split."""

    def open_holdout(self, digest: str, model_version: str, by: str, why: str) -> list[Member]:
        """The sealed members, for a registered model; leaves a row that cannot be changed.

        Raises
        ------
        DatabaseRefused
            The model is not registered, or there is no such cohort.
        """


class ModelRegistry(Protocol):
    """Every model version, its state and its history, in Postgres."""

    def register(
        self,
        version: str,
        manifest: Mapping[str, Any],
        folder: Path,
        *,
        by: str,
        why: str,
        cohort_digest: str | None = None,
        training: Mapping[str, Any] | None = None,
        canary: CanaryEvent | None = None,
    ) -> None:
        """Register as ``candidate``; the same version again changes nothing.

        `training`: its training report; `canary`: the one that it is registered with.
        """

    def change(self, changes: Sequence[Change], *, champion: str | None, by: str, why: str) -> None:
        """Make these changes in one transaction, provided that `champion` is still the champion.

        Raises
        ------
        GovernanceRefused
            The champion, or a version's state, is not what it was; nothing is changed.
        """

    def attach(self, version: str, kind: str, content: Mapping[str, Any], *, by: str) -> None:
        """Keep a document: ``training_report``, ``gate``, ``model_card``, ``approval`` or ``external``; no PHI."""

    def document(self, version: str, kind: str) -> Mapping[str, Any] | None:
        """The newest document of a kind."""

    def state(self, version: str) -> str | None:
        """candidate, shadow, champion, retired or withdrawn; None where it is not registered."""

    def champion(self) -> str | None:
        """Version of the champion."""

    def model(self, version: str) -> ModelRecord:
        """A version with its manifest and training report; KeyError where it is not registered."""

    def all(self) -> Sequence[RegisteredModel]:
        """Every version, newest first."""

    def history(self, version: str) -> Sequence[RegistryEvent]:
        """What became of a version, oldest first."""

    def champion_events(self) -> Sequence[ChampionEvent]:
        """Every event by which a champion came or went, oldest first."""

    def reports(self, version: str) -> Sequence[ReportOfModel]:
        """Every structured report of a version, and what became of it."""

    def openings(self, cohort_digest: str) -> Sequence[HoldoutOpening]:
        """Each time the sealed holdout of a cohort was opened, for whatever model, oldest first."""

    def looks(self, cohort_digest: str) -> Sequence[HoldoutLook]:
        """Who looked at this holdout, or at one that shares a patient with it: each model once a holdout, in order."""

    def save_gone(self, withdrawn_uid: str, version: str) -> None:
        """Note that the PACS has a report and its study no more; the same again changes nothing."""

    def save_notice(self, withdrawn_uid: str, version: str, notice_uid: str) -> None:
        """Note which withdrawal notice supersedes a report; the same again changes nothing."""

    def pictures(self, case_id: str, version: str) -> Sequence[Predecessor]:
        """What the PACS took of a case and model beside its structured reports."""

    def save_rejection(self, withdrawn_uid: str, version: str, rejection_uid: str) -> None:
        """Note which key object rejects a report; the same again changes nothing."""


class SettingsBook(Protocol):
    """The history of governed settings (`domain.governed_settings`), and under which of them a night was opened."""

    def current(self) -> Mapping[str, SettingValue]:
        """Values that the history holds now, by ``section.name``; what it does not hold, the file says."""

    def set(self, name: str, value: SettingValue | None, *, by: str, why: str) -> None:
        """Change a setting; None gives it back to the file."""

    def history(self) -> Sequence[SettingChange]:
        """Every change, oldest first."""

    def note_opening(self, night: date, model_version: str, digest: str, settings: Mapping[str, SettingValue]) -> None:
        """Note by which model and under which settings a night begins (or begins again)."""

    def snapshot(self, digest: str) -> Mapping[str, SettingValue]:
        """The settings behind a digest; KeyError where no night was opened under it."""

    def made_under(self, case_id: str) -> NightOpening | None:
        """Under which opening a case's result was made."""


class ShadowBook(Protocol):
    """What challengers said of the cases that the champion staged, apart from every result."""

    def save(
        self,
        case_id: str,
        champion: CaseStaging,
        challenger: CaseStaging,
        features: np.ndarray,
        logits: np.ndarray,
        *,
        own_preparation: bool = False,
    ) -> None:
        """Upsert what a challenger said of a case: key slice's features (D,), logits of the slices (3, 4)."""

    def save_error(self, case_id: str, champion: CaseStaging, model_version: str, error: str) -> None:
        """Upsert why a challenger could not stage a case; no PHI."""

    def done(self, case_ids: Sequence[str], model_version: str) -> frozenset[str]:
        """Which of these cases a challenger has staged already."""

    def of_night(self, night: date) -> Sequence[ShadowAnswer]:
        """What challengers said of a night's cases, without probabilities, in the order of versions, then cases."""

    def of_model(self, model_version: str) -> Sequence[ShadowAnswer]:
        """What one challenger said on all its nights, with its probabilities."""


class RestageBook(Protocol):
    """Comparisons of replays, and who let their results go to the PACS."""

    def save(self, digest: str, model_version: str, wanted: Mapping[str, Any], comparison: Mapping[str, Any]) -> None:
        """Keep a comparison; the same again changes nothing."""

    def get(self, digits: str) -> KeptComparison | None:
        """The one comparison whose digest begins so; None where there is not exactly one."""

    def approve(self, digest: str, *, by: str, why: str) -> None:
        """Note who lets these results go to the PACS."""

    def approvals(self, digest: str) -> Sequence[ReplayApproval]:
        """Everybody who did, oldest first."""


class AccessTrail(Protocol):
    """Who looked at, approved, sent or changed what."""

    def note(self, action: str, object_kind: str, object_id: str, *, by: str, outcome: str, why: str = "") -> None:
        """Note that somebody looked at something, or was refused something; `object_id` and `why` name no patient."""

    def newest(self, most: int) -> Sequence[AccessEvent]:
        """What was noted last, newest first."""

    def about(self, object_ids: Sequence[str]) -> Sequence[AccessEvent]:
        """All that was noted about some objects, oldest first."""

    def send(self, receiver: str, deliver: Callable[[Sequence[WaitingEvent]], None], most: int) -> int:
        """Give `deliver` what this receiver has not got, oldest first; returns how many that were."""


class AccessReceiver(Protocol):
    """The hospital's audit repository."""

    @property
    def name(self) -> str:
        """What it has got is remembered by this."""

    def deliver(self, events: Sequence[WaitingEvent]) -> None:
        """Send all of these, and wait until it has read them; raises `ReceiverUnreachable`."""


class ApprovalBook(Protocol):
    """Questions to persons, and their answers."""

    def ask(self, question: Question) -> None:
        """Keep a question; the newest in a place is the one that counts there."""

    def newest(self, asked_in: str) -> AskedQuestion | None:
        """What was asked last in this place; None where nobody was."""

    def answer(self, request_id: int, answer: Answer) -> None:
        """Keep what a person said; the first answer to a question stays."""

    def answered(self, request_id: int) -> Answer | None:
        """What a person said to a question; None where nobody has answered."""


class SliceConfirmations(Protocol):
    """Readers' words on key slices that were found automatically: append-only, the newest of a case holds."""

    def confirm(self, confirmation: SliceConfirmation) -> None:
        """Keep a reader's word."""

    def of_case(self, case_id: str) -> Sequence[SliceConfirmation]:
        """What readers said of a case, oldest first."""


class ReaderWords(Protocol):
    """What readers say of results: append-only; of each reader the newest word that was not taken back holds."""

    def result(self, case_id: str) -> ResultInQuestion:
        """The result that a case carries and that may be shown; `InputRefused` where there is no case, or no result."""

    def say(self, word: NewWord) -> int:
        """Keep a word, with the message about it to other systems in the same transaction; returns its number.

        Raises
        ------
        DatabaseRefused
            The case does not carry this result (any more).
        """

    def withdraw(self, case_id: str, number: int, by: Reader, why: str) -> int:
        """Take back a word; `InputRefused` where it is none of this reader's on this case, or was taken back."""

    def of_case(self, case_id: str) -> Sequence[KeptWord]:
        """Every word on a case, oldest first; KeyError for what is no case id."""

    def give_own_stage(self, about: ResultInQuestion, reader: str, stage: TStage) -> None:
        """Keep the stage that a reader gives before the AI's is shown; the first for a result holds.

        Nothing is kept of a reader who was shown the result before.
        """

    def own_stage(self, about: ResultInQuestion, reader: str) -> OwnStage | None:
        """What a reader gave of their own for this result."""

    def note_shown(self, results: Mapping[str, str], reader: str) -> None:
        """Note that a reader is shown these results, digests by case; the first time holds."""


class WordReports(Protocol):
    """Readers' words on their way to the PACS: each is noted as written before it is sent, and as sent once."""

    def due(self, *, with_why: bool, most: int) -> Sequence[WordToSend]:
        """Words that are due, oldest first; `with_why`: new ones are written with the reader's reason."""

    def write(self, word: WordToSend, written: ReportObject) -> None:
        """Note what was written for a word; after it was sent nothing is changed."""

    def sent(self, word: WordToSend) -> None:
        """Note that the PACS has it."""

    def wait(self, word: WordToSend, seconds: float, trouble: str) -> None:
        """Note that it is tried again in so many seconds; `trouble` is the class of the error."""

    def waiting(self) -> WaitingWords:
        """What the PACS has not taken when it was sent."""


class AuditSource(Protocol):
    """Staged and refused cases with what became of their patients; no PatientID leaves it."""

    def cases(self, since: date, until: date, as_of: date) -> list[AuditCase]:
        """Cases of the nights `since` to `until`, both included, as they were known by the end of `as_of`.

        In the order of nights, then case ids. A case carries the result that it carries now; refused studies and
        failed cases are cases too.
        """

    def first_night(self, model_version: str) -> date | None:
        """The first night of which this model has a result; None where it never staged."""


class AuditBook(Protocol):
    """Every audit that was run, and its alarms."""

    def save_run(self, run: AuditRecord) -> None:
        """Keep a run; the same run again changes nothing."""

    def run(self, digits: str) -> AuditRecord | None:
        """The one run whose id begins so; None where there is not exactly one."""

    def runs(self, kind: AuditKind | None = None) -> Sequence[AuditRecord]:
        """Every run, newest first."""

    def raise_alarms(self, run_id: str, alarms: Sequence[Alarm]) -> list[RaisedAlarm]:
        """Open alarms; one that this monitor has raised for this model in this watch already is not opened twice.

        Returns those that are new, as `alarms` gives them.
        """

    def alarms(self, *, only_open: bool = False) -> Sequence[RaisedAlarm]:
        """Every alarm with what became of it, oldest first."""

    def acknowledge(self, alarm_id: int, *, by: str, note: str, watch_from: date | None) -> None:
        """Close an alarm; with `watch_from` its monitor watches anew from that night.

        Raises
        ------
        InputRefused
            There is no such alarm, somebody has acknowledged it already, or `watch_from` is not after the night
            since which its monitor watches; nothing is changed.
        """

    def pause(self, alarm_id: int) -> None:
        """Note that an alarm holds reports back: the worklist then hides what the PACS is not given."""


class DeliveryHold(Protocol):
    """Who may hold reports back, while the setting `audit.pause_delivery` is on."""

    def held(self) -> Mapping[str, str]:
        """Model versions whose reports must not leave the hospital now, each with the sentence that says why."""


class CanaryBook(Protocol):
    """What became of every canary; append-only."""

    def note(self, event: CanaryEvent) -> None:
        """Keep what came of a canary that was staged."""

    def record(self, event: CanaryEvent, *, by: str, why: str) -> None:
        """Take a new answer as the one that later ones are held against; `DatabaseRefused` where the login may not."""

    def newest(self, model_version: str, since: datetime) -> Sequence[CanaryEvent]:
        """The newest of each machine since then, newest first; what was only recorded is none."""

    def of_night(self, night: date) -> Sequence[CanaryEvent]:
        """The newest of each machine and model in a night, newest first."""

    def expected(self, model_version: str) -> str | None:
        """SHA-256 of the canary that a model must have; None where it never had one."""

    def history(self, model_version: str) -> Sequence[CanaryEvent]:
        """Everything that is known of a model's canary, oldest first."""


class StopSwitch(Protocol):
    """Whether anything may be staged or sent; append-only."""

    def stopped(self) -> SwitchEvent | None:
        """The stop that holds now; None while the service runs."""

    def decide(self, action: SwitchAction, *, by: str, why: str) -> None:
        """Stop or resume; `DatabaseRefused` where the login may not."""

    def history(self) -> Sequence[SwitchEvent]:
        """Every stop and every resume, oldest first."""


class KeptFiles(Protocol):
    """What is left of a night's files, to look at; nothing is made where there is nothing."""

    def kept_folder(self, night: date, case_id: str, step: Step) -> Path:
        """The folder of a case's step, whether or not it is there."""

    def kept_night_folder(self, night: date, name: str) -> Path:
        """A folder of the night itself, whether or not it is there."""

    def read_json(self, night: date, case_id: str, step: Step, name: str) -> Any:
        """Read ``<name>.json``; FileNotFoundError where there is none."""

    def read_arrays(self, night: date, case_id: str, step: Step, name: str) -> dict[str, np.ndarray]:
        """Read ``<name>.npz``; FileNotFoundError where there is none."""


class ConsoleBook(Protocol):
    """What the pages for people read; every look at a patient is noted with it.

    A `reader` is the radiologist whom a page is for, None where it is for no radiologist. What is withheld from
    them leaves no method that takes one.
    """

    def nights(self, most: int, before: date | None = None) -> Sequence[ConsoleNight]:
        """Nights that were opened, newest first."""

    def opened_nights(self, most: int) -> Sequence[date]:
        """The nights that were opened, newest first, without what became of their cases."""

    def last_night(self) -> date | None:
        """The newest night with cases; None where there never was a night."""

    def worklist(
        self,
        night: date,
        wanted: WorklistFilter,
        most: int,
        after: WorklistPlace | None = None,
        reader: CaseReader | None = None,
    ) -> WorklistPage:
        """A page of a night's cases in the order in which they are read."""

    def choices(self, night: date, reader: CaseReader | None = None) -> tuple[Sequence[str], Sequence[str]]:
        """The scanners and the flags that occur in a night; not those of results that are withheld from the reader."""

    def stopped_cases(self, night: date, most: int, reader: CaseReader | None = None) -> Sequence[ConsoleCase]:
        """A night's cases that failed, wait, are held back, or were refused."""

    def case(self, case_id: str, reader: CaseReader | None = None) -> ConsoleCase:
        """One case; KeyError where there is none."""

    def others_of_patient(self, case_id: str, reader: CaseReader | None = None) -> Sequence[ConsoleCase]:
        """The patient's other cases, newest first."""

    def patients(self, case_ids: Sequence[str], *, by: str, why: str) -> Mapping[str, ConsolePatient]:
        """Whose these cases are, by case; that somebody looked is kept in the same transaction."""

    def in_the_pacs(self, case_id: str) -> frozenset[str]:
        """Instances of the case that the PACS took."""

    def audits(self, most: int, before: str = "") -> Sequence[ConsoleAudit]:
        """Runs of the audit, newest first; those before the run `before` where it is named."""


class Clock(Protocol):
    """The wall clock, for what is truly about now: events, retention, deadlines. Never for choosing a night."""

    def now(self) -> datetime:
        """Now, with time zone."""

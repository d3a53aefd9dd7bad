"""One shard through one step: every case succeeds or fails alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date

from gtr_batch.domain.case import NEEDS, Case, CaseState, Failure, Step
from gtr_batch.domain.refusal import REASONS, Refusal, RefusalCode, Subject
from gtr_batch.domain.step_record import Detail, StepRecord
from gtr_batch.errors import (
    CanaryFailed,
    CaseRejected,
    CasesSentBack,
    CasesToRetry,
    CaseTakenOver,
    ConfigError,
    DatabaseBusy,
    GtrError,
    InputLost,
    ModelArtefactError,
    ServiceStopped,
    StorageFull,
    TransientError,
    fault_of,
)
from gtr_batch.logs import get_logger
from gtr_batch.night.identity import tell_operations
from gtr_batch.night.site import Site

Work = Callable[[Case, StepRecord], Detail | None]

# Not about a case: the database, the settings, the model or the machine are wrong for all of them, or a person has
# stopped the service; so the task itself ends.
OURS = (DatabaseBusy, ConfigError, ModelArtefactError, ServiceStopped, CanaryFailed)

GB = 1024**3
CASE_GB = 1 / 32  # more than what any step after the retrieval writes for a case of 512 x 512 pixels
WRITES_FILES = (Step.VALIDATE, Step.PREPROCESS, Step.STAGE, Step.REPORT)


def of_night(site: Site, shard: Sequence[str], night: date | None) -> list[Case]:
    """The cases of a shard that no other night has taken over; all of them where it is no night's."""
    return [case for case in site.cases.select(shard) if night in (None, case.night)]


def ready(site: Site, shard: Sequence[str], step: Step, night: date | None = None) -> list[Case]:
    """The cases of a shard that `step` has to do."""
    return [case for case in of_night(site, shard, night) if case.ready_for(step)]


def check_space(site: Site, step: Step, cases: int) -> None:
    """Look at the free space before a step that writes files.

    A series is fetched only where `files.min_free_gb` is free; what is fetched already is finished with less.

    Raises
    ------
    StorageFull
        There is too little for `cases` cases.
    """
    wanted = site.config.files.min_free_gb if step is Step.RETRIEVE else cases * CASE_GB
    if not cases or step not in (Step.RETRIEVE, *WRITES_FILES):
        return
    free = site.files.free_bytes() / GB
    if free < wanted:
        named = " (files.min_free_gb)" if step is Step.RETRIEVE else ""
        raise StorageFull(
            f"{free:.2f} GB free in the file store, {wanted:.2f} wanted{named} before {step} begins with {cases} "
            "case(s); free space, then run the night again"
        )


def is_ours(err: CaseRejected) -> bool:
    """Whether the reason lies with us, and so says nothing of the patient."""
    return REASONS[RefusalCode(err.code)].about is Subject.SERVICE


class Shard:
    """Keeps the outcome of each case of a shard in one step, and says at the end what may be retried."""

    def __init__(self, site: Site, step: Step, shard: Sequence[str], night: date | None = None) -> None:
        self.site = site
        self.step = step
        self.ids = list(shard)
        self.cases = ready(site, shard, step, night)
        self.log = get_logger(step)
        self._retry: list[tuple[str, str]] = []
        self._sent_back: list[tuple[str, str]] = []
        self._done, self._counting = 0, threading.Lock()
        self._look_at_the_space()
        if self.cases:
            site.check_running()

    def _look_at_the_space(self) -> None:
        """Where there is too little, no case is begun: each has failed for that reason, and may work later."""
        try:
            check_space(self.site, self.step, len(self.cases))
        except StorageFull as err:
            self.site.check_running()
            for case in self.cases:
                with self._unless_taken_over(case):
                    self._fail(StepRecord(case.case_id, self.step, seen=case), fault_of(err), True)
            self.cases = []

    def each(self, to: CaseState, work: Work) -> list[str]:
        """Do `work` for each ready case alone, moving it to `to`; returns the shard's ids."""
        for case in self.cases:
            self.one(case, to, work)
        return self.finish()

    def one(self, case: Case, to: CaseState, work: Work) -> None:
        """Do `work` for one case; what it found, the state and the event are written together, or none of them."""
        with self._unless_taken_over(case):
            self._one(case, to, work)
        with self._counting:
            self._done += 1
            self.site.progress(self.step, self._done, len(self.cases))

    @contextmanager
    def _unless_taken_over(self, case: Case) -> Iterator[None]:
        """What another night has begun anew meanwhile is that night's: nothing was written, and nothing is retried."""
        try:
            yield
        except CaseTakenOver as err:
            self.log.warning("case.taken_over", case_id=case.case_id, reason=str(err))

    def _one(self, case: Case, to: CaseState, work: Work) -> None:
        started, tried = time.perf_counter(), StepRecord(case.case_id, self.step, seen=case)
        try:
            with self.site.cases.step(case.case_id, self.step) as record:
                tried, record.seen = record, case
                self.site.check_running()
                detail = dict(work(case, record) or {})
                if self.step is not Step.DELIVER:  # what the PACS has got is noted all the same
                    self.site.check_running()
                record.advance(to, detail)
            self.log.info(f"case.{to}", case_id=case.case_id, seconds=round(time.perf_counter() - started, 2), **detail)
        except (*OURS, CaseTakenOver):
            raise
        except CaseRejected as err:
            if is_ours(err):  # no verdict on the patient
                self._fail(tried, str(err), True)
                return
            with self._after(tried) as record:
                record.refuse(Refusal.of(err))
            tell_operations(self.site, case.case_id, self.step, err)
            self.log.warning("case.refused", case_id=case.case_id, code=err.code, reason=err.sentence)
        except InputLost as err:
            self._fail(tried, fault_of(err), True, CaseState(err.back_to))
        except GtrError as err:
            self._fail(tried, fault_of(err), isinstance(err, TransientError))
        except MemoryError as err:  # a header that claims too much, or a machine that has too little: a retry tells
            self._fail(tried, fault_of(err), True)
        except Exception as err:  # noqa: BLE001 - one bad case never stops the night
            self._fail(tried, fault_of(err), False)

    def again(self, case: Case, work: Callable[[Case], object]) -> None:
        """Do once more for a case what this step did before; its state stays, unless that fails."""
        tried = StepRecord(case.case_id, self.step, seen=case)
        try:
            work(case)
        except OURS:
            raise
        except Exception as err:  # noqa: BLE001 - one bad case never stops the night
            with self._unless_taken_over(case):
                self._fail(tried, fault_of(err), isinstance(err, TransientError | MemoryError))

    def beside(self, case: Case, work: Callable[[], object]) -> None:
        """Do `work` for a case that has ended (a refusal's report): its state stays, its faults stop nobody."""
        try:
            work()
        except OURS:
            raise
        except TransientError as err:
            self.log.warning("refusal.delayed", case_id=case.case_id, error=fault_of(err))
            self._retry.append((case.case_id, fault_of(err)))
        except Exception as err:  # noqa: BLE001 - a refusal that cannot be written back must not hold back results
            if isinstance(err, GtrError):
                tell_operations(self.site, case.case_id, self.step, err)
            self.log.error("refusal.not_written_back", case_id=case.case_id, error=fault_of(err))

    @contextmanager
    def _after(self, tried: StepRecord) -> Iterator[StepRecord]:
        """A record for a step that did not succeed: its results are dropped, what it observed is kept."""
        with self.site.cases.step(tried.case_id, self.step) as record:
            record.expected_sop_uids, record.facts, record.seen = tried.expected_sop_uids, tried.facts, tried.seen
            yield record

    def _fail(self, tried: StepRecord, error: str, retryable: bool, back_to: CaseState | None = None) -> None:
        with self._after(tried) as record:
            record.fail(Failure(step=self.step, error=error, retryable=retryable, back_to=back_to))
        self.log.error("case.failed", case_id=tried.case_id, error=error, retryable=retryable)
        if retryable:
            # A try of this task again finds the case only where this step finds its work.
            again = back_to is None or back_to in NEEDS[self.step]
            (self._retry if again else self._sent_back).append((tried.case_id, error))

    def finish(self) -> list[str]:
        """The shard's ids.

        Raises
        ------
        CasesToRetry
            Some cases failed in a way that may work later; a retry of the task handles only those.
        CasesSentBack
            No case may, and some went back to an earlier step: a retry of the task would find none.
        """
        if self._retry:
            raise CasesToRetry(f"{self.step}: {self._some(self._retry)} may work later ({_named(self._retry)})")
        if self._sent_back:
            raise CasesSentBack(
                f"{self.step}: {self._some(self._sent_back)} went back to an earlier step, where the night's next run "
                f"begins ({_named(self._sent_back)})"
            )
        return self.ids

    def _some(self, cases: Sequence[tuple[str, str]]) -> str:
        return f"{len(cases)} of {max(len(cases), len(self.cases))} cases"


def _named(cases: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{case_id}: {error}" for case_id, error in cases[:5])

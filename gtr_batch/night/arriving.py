"""Studies that are still arriving: looked at again until nothing more comes, and again when a series has grown.

A study is taken when its CT series have the same number of instances in two looks that lie `night.settle_minutes`
apart. The first look is `query_pacs`'s, so a night waits that long between query and intake; what still grows then
waits for the next run of the night or, as long as it is looked back on, for a later night.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import cached_property

from attrs import define

from gtr_batch.domain.case import PATH, Case, CaseState, Step
from gtr_batch.domain.refusal import REASONS, RefusalCode, Subject
from gtr_batch.domain.series import InstanceRecord, SeriesRecord
from gtr_batch.domain.transitions import Reopening
from gtr_batch.errors import CaseRejected, CaseTakenOver, StillArriving, fault_of
from gtr_batch.logs import get_logger
from gtr_batch.night.site import REFERENCE_MODALITIES, Site
from gtr_batch.ports import ImageArchive


@define(slots=False)
class Listing:
    """What the PACS lists of one study now; each thing asked for once."""

    archive: ImageArchive
    study_uid: str
    _instances: dict[str, list[InstanceRecord]]

    @classmethod
    def of(cls, archive: ImageArchive, study_uid: str) -> Listing:
        """Of a study; nothing is asked yet."""
        return cls(archive, study_uid, {})

    @cached_property
    def series(self) -> list[SeriesRecord]:
        """All series."""
        return list(self.archive.find_series(self.study_uid))

    def instances(self, series_uid: str) -> list[InstanceRecord]:
        """The instances of a series."""
        if series_uid not in self._instances:
            self._instances[series_uid] = list(self.archive.find_instances(self.study_uid, series_uid))
        return self._instances[series_uid]

    def count(self, series_uid: str) -> int:
        """How many instances a series has: as the PACS tells, or as it lists."""
        told = next((s.instances for s in self.series if s.series_uid == series_uid), None)
        return len(self.instances(series_uid)) if told is None else told

    def counts(self) -> dict[str, int]:
        """Instances by Series Instance UID, of the CT series; what is read or written beside them is no part of it.

        A series with an invalid UID cannot be asked for: it is left out, and the selection says so.
        """
        found = {}
        for uid in (one.series_uid for one in self.series if one.modality == "CT"):
            try:
                found[uid] = self.count(uid)
            except CaseRejected as err:
                if err.code != RefusalCode.INVALID_UID:
                    raise
        return found


def look(site: Site, listing: Listing) -> None:
    """Look at a study.

    Raises
    ------
    StillArriving
        Its instances have not stood still for `night.settle_minutes`.
    """
    minutes, now = site.settings.night.settle_minutes, site.clock.now()
    seen = site.looks.note(listing.study_uid, listing.counts(), now)
    if seen.settles_at(minutes) > now:
        stood = (now - seen.since).total_seconds() / 60
        raise StillArriving(
            f"{seen.instances} instances in {len(seen.counts)} CT series, the same for {stood:.0f} of {minutes:g} "
            "minutes (night.settle_minutes); looked at again by the next run"
        )


def covers_its_promise(listing: Listing, series_uid: str) -> None:
    """Raise `StillArriving` where the PACS tells of more instances in a series than it lists."""
    listed, told = len(listing.instances(series_uid)), listing.count(series_uid)
    if listed < told:
        raise StillArriving(
            f"series {series_uid}: the PACS tells of {told} instances and lists {listed}; looked at again by the next "
            "run"
        )


def first_look(site: Site, study_uids: Sequence[str]) -> None:
    """Look at studies before intake does; what cannot be looked at now is looked at then."""
    with site.archive.connected():
        for study_uid in study_uids:
            try:
                look(site, Listing.of(site.archive, study_uid))
            except StillArriving:
                continue
            except Exception as err:  # noqa: BLE001 - one study never stops the night; intake notes it
                get_logger(Step.PACS).warning("study.not_looked_at", study_uid=study_uid, error=fault_of(err))


def settles_at(site: Site, study_uids: Sequence[str]) -> datetime | None:
    """When the last of these studies will have stood still long enough; None where that is past."""
    minutes, now = site.settings.night.settle_minutes, site.clock.now()
    if minutes <= 0:
        return None
    last = max((seen.settles_at(minutes) for seen in site.looks.of(study_uids).values()), default=now)
    return last if last > now else None


def grown(listing: Listing, known: Sequence[Case]) -> list[Case]:
    """Cases of a study that were retrieved and whose series has more instances now: told of, and listed."""

    def has_grown(case: Case) -> bool:
        before = len(case.expected_sop_uids)
        begun = case.reached is not CaseState.FOUND or case.state is CaseState.REFUSED
        told = begun and 0 < before < listing.count(case.series_uid)
        return told and len(listing.instances(case.series_uid)) > before

    return [case for case in known if has_grown(case)]


def newly_marked(site: Site, listing: Listing, known: Sequence[Case], ehr_sop_uid: str | None) -> list[Case]:
    """Cases that were refused for want of a key slice, and of which one is marked now, in the EHR or in the PACS."""

    def is_marked(case: Case) -> bool:
        if case.refusal is None or case.refusal.code is not RefusalCode.NO_KEY_SLICE:
            return False
        fetched = site.files.folder(case.night, case.case_id, Step.RETRIEVE)
        there = sum(1 for modality in REFERENCE_MODALITIES for _ in (fetched / modality).glob("*.dcm"))
        listed = sum(listing.count(s.series_uid) for s in listing.series if s.modality in REFERENCE_MODALITIES)
        return ehr_sop_uid in case.expected_sop_uids or listed > there

    return [case for case in known if is_marked(case)]


def judged_as_it_is(site: Site, case: Case) -> bool:
    """Whether a study that was refused for its images has been looked at as it is now before it was."""
    seen = site.looks.of([case.study_uid]).get(case.study_uid)
    of_images = case.refusal is not None and REASONS[case.refusal.code].about is Subject.IMAGES
    return of_images and seen is not None and seen.since <= site.cases.events(case.case_id)[-1]["at"]


def take_anew(site: Site, night: date, listing: Listing, cases: Sequence[Case]) -> None:
    """Begin cases anew, in this night, whose series has grown or has a key slice now.

    Their new reports name those before as predecessors.
    """
    for case in cases:
        now = [one.sop_instance_uid for one in listing.instances(case.series_uid)]
        before = len(case.expected_sop_uids)
        why = (
            f"the series has grown from {before} to {len(now)} instances" if len(now) > before else "a slice is marked"
        )
        begin_anew(site, case, Reopening(why=why, night=night), now, seen=case)


def take_over(site: Site, night: date) -> None:
    """Take the unfinished cases of the nights that are looked back on into this one: they begin anew.

    What a person must mend first, and what is written already, stays in its night.
    """
    first = night - timedelta(days=site.settings.night.look_back_days)
    for case in site.cases.unfinished(night):
        waits = case.failure is None or case.failure.retryable
        written = PATH.index(case.reached) >= PATH.index(CaseState.REPORTED)
        if case.night >= first and case.series_uid and waits and not written:
            begin_anew(site, case, Reopening(why=f"not finished in night {case.night}", night=night), seen=case)


def begin_anew(
    site: Site, case: Case, reopening: Reopening, expected: Sequence[str] | None = None, seen: Case | None = None
) -> None:
    """Begin a case anew; nothing happens where it is not as it was `seen` any more: another night is at work on it."""
    log = get_logger(Step.INTAKE)
    try:
        with site.cases.step(case.case_id, Step.INTAKE) as record:
            record.seen = seen
            record.reopen(reopening)
            if expected is not None:
                record.expects(expected)
    except CaseTakenOver as err:
        log.warning("case.taken_over", case_id=case.case_id, reason=str(err))
        return
    log.info("case.begins_anew", case_id=case.case_id, reason=reopening.why)

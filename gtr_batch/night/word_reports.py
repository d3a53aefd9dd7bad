"""Readers' words to the PACS: each a structured report of its own, one after another, until the PACS has it.

What is written is noted before it is sent and follows from the word alone, so a process that dies in between leaves a
word that is sent again as the same instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from gtr_batch.domain.case import Case, Step
from gtr_batch.domain.delivery import ReportObject
from gtr_batch.domain.reader_word import WordToSend
from gtr_batch.domain.result_message import wait_s
from gtr_batch.errors import GtrError, ServiceStopped, TransientError
from gtr_batch.identity import read_identity
from gtr_batch.logs import get_logger
from gtr_batch.night.identity import tell_operations
from gtr_batch.night.messages import UNANSWERED, Sent
from gtr_batch.night.site import Site
from gtr_batch.ports import WordReports

log = get_logger("word_reports")
_AT_ONCE = 500
_FIRST_WAIT_S, _LONGEST_WAIT_S = 60.0, 3600.0


def send_words(site: Site, words: WordReports) -> Sent:
    """Send every word that is due, the words of a reader on a case in their order.

    Returns
    -------
    Sent
        How many the PACS took, and how many have to wait; the first of those that wait keeps the later ones of the
        same reader on the same case back.

    Raises
    ------
    ServiceStopped
        A person has stopped the service, perhaps in the middle.
    """
    taken, in_a_row = 0, 0
    waiting: set[tuple[str, str, bool]] = set()
    while first := _first_of_each(words.due(with_why=site.config.report.reader_word_why, most=_AT_ONCE), waiting):
        for word in first:
            site.check_running()
            try:
                _send(site, words, word)
            except ServiceStopped:
                raise
            except GtrError as err:
                waiting.add(_whose(word))
                words.wait(word, wait_s(word.tries + 1, _FIRST_WAIT_S, _LONGEST_WAIT_S), type(err).__name__)
                tell_operations(site, word.case_id, Step.DELIVER, err)
                log.warning("word.not_sent", case_id=word.case_id, word=word.number, error=str(err))
                in_a_row = in_a_row + 1 if isinstance(err, TransientError) else 0
                if in_a_row >= UNANSWERED:  # the PACS is ill: the rest waits too
                    return Sent(taken, len(waiting))
            else:
                taken, in_a_row = taken + 1, 0
                log.info("word.sent", case_id=word.case_id, word=word.number)
    return Sent(taken, len(waiting))


def report_file(site: Site, case: Case, report: ReportObject, folder: Path) -> Path:
    """A report's file: from the file store, or, where that was cleared or names another patient, from the PACS.

    After a merge the file has the PatientID of before; the PACS has given its own copy the new one.
    """
    path, identity = folder / report.file, case.identity(report.series_uid)
    found = read_identity(path)
    if found is not None and not identity.differences(found):
        return path
    return site.archive.retrieve(
        case.study_uid, report.series_uid, [report.sop_instance_uid], folder, identity=identity
    )[0]


def _whose(word: WordToSend) -> tuple[str, str, bool]:
    return word.case_id, word.reader, word.about_slice


def _first_of_each(due: Sequence[WordToSend], waiting: set[tuple[str, str, bool]]) -> list[WordToSend]:
    """The oldest of each reader on each case: what follows it names it as its predecessor."""
    found: dict[tuple[str, str, bool], WordToSend] = {}
    for word in due:
        if _whose(word) not in waiting:
            found.setdefault(_whose(word), word)
    return list(found.values())


def _send(site: Site, words: WordReports, word: WordToSend) -> None:
    from gtr_batch.deliver import Parcel, deliver_case

    case = site.cases.get(word.case_id)
    folder = site.files.folder(case.night, case.case_id, Step.REPORT)
    written = _written(site, words, word, case, folder)
    if written is not None:
        deliver_case(site.archive, site.deliveries, Parcel(case, [written], folder), site.config.pacs)
    words.sent(word)


def _written(site: Site, words: WordReports, word: WordToSend, case: Case, folder: Path) -> ReportObject | None:
    """What is to be sent; None where an earlier try has sent it, and by now it would be written otherwise."""
    from gtr_batch.report import is_as_written, write_reader_word

    before = word.written
    if before is not None and is_as_written(folder, before):
        return before
    made = write_reader_word(
        folder,
        case=case,
        report_file=report_file(site, case, word.report, folder),
        word=word,
        said_at=word.at.astimezone(ZoneInfo(site.config.night.timezone)).replace(tzinfo=None, microsecond=0),
        config=site.config.report,
    )
    changed = before is not None and made.sop_instance_uid != before.sop_instance_uid
    if changed and before and site.archive.present(case.study_uid, before.series_uid, [before.sop_instance_uid]):
        return None
    words.write(word, made)
    return made

"""What a radiologist is shown of results: withheld before their own stage where the site asks for that, and noted."""

from __future__ import annotations

from collections.abc import Sequence

from gtr_batch.domain.console import CaseReader, ConsoleCase, ResultStanding
from gtr_batch.domain.reader_word import OwnStage, ResultInQuestion
from gtr_batch.domain.staging import TStage
from gtr_batch.errors import InputRefused
from gtr_batch.logs import get_logger
from gtr_batch.ports import ReaderWords

#: What a reader is told where a result is withheld.
WITHHELD = "Give your own stage first, on the page of the case; then the AI's result is shown."


def note_shown(words: ReaderWords, cases: Sequence[ConsoleCase], reader: CaseReader | None) -> None:
    """Note that a reader is about to be shown the results of these cases, where that is not noted yet."""
    if reader is not None:
        new = {case.case_id: case.result for case in cases if case.standing is ResultStanding.NEW and case.result}
        words.note_shown(new, reader.name)


def own_stage(words: ReaderWords, case: ConsoleCase, reader: CaseReader | None) -> OwnStage | None:
    """The stage that a reader gave of their own for the result of a case; None where the site does not ask for one."""
    if reader is None or not reader.own_stage_first or case.result is None or case.is_withheld:
        return None
    return words.own_stage(_about(case), reader.name)


def give_own_stage(words: ReaderWords, case: ConsoleCase, reader: CaseReader, seen: str, stage: TStage) -> None:
    """Keep a reader's own stage for the result that their page withheld; the first holds.

    Raises
    ------
    InputRefused
        The site asks for none, the case carries another result than the page was about, or it was shown before.
    """
    if not reader.own_stage_first:
        raise InputRefused("this site does not ask for an own stage")
    if case.result is None or case.result != seen:
        raise InputRefused("the result has changed since this page was opened")
    if case.is_withheld:
        words.give_own_stage(_about(case), reader.name, stage)
        get_logger("console").info("case.own_stage", case_id=case.case_id)
    elif own_stage(words, case, reader) is None:
        raise InputRefused("the AI's result was shown to you before, or it has no stage")


def _about(case: ConsoleCase) -> ResultInQuestion:
    return ResultInQuestion(case.case_id, case.model_version or "", case.result or "", None, case.is_read)

"""A reader's word from the command line, where a site has no console: the name is stated, not authenticated."""

from __future__ import annotations

from collections.abc import Sequence

from gtr_batch.domain.reader_word import KeptWord, NewWord, Reader, WordKind
from gtr_batch.domain.staging import TStage
from gtr_batch.errors import InputRefused
from gtr_batch.logs import get_logger
from gtr_batch.ports import ReaderWords

NAMED = "named, not signed in"  # the role of who speaks here


def word_of(
    words: ReaderWords, case_id: str, by: Reader, *, agree: bool, overrule: str, withdraw: int | None, why: str
) -> int:
    """Keep one word: agreed, overruled with a stage, or an earlier one taken back; returns its number.

    Raises
    ------
    InputRefused
        Not exactly one of the three; the case has no such result; or the word is not complete.
    """
    if sum((agree, bool(overrule), withdraw is not None)) != 1:
        raise InputRefused("one of --agree, --overrule and --withdraw")
    about = words.result(case_id)
    if withdraw is not None:
        number, kind = words.withdraw(case_id, withdraw, by, why), WordKind.WITHDRAWN
    else:
        kind = WordKind.AGREE if agree else WordKind.OVERRULE
        number = words.say(NewWord(about, by, kind, why, stage_of(overrule) if overrule else None))
    get_logger("reader_word").info("case.reader_word", case_id=case_id, kind=str(kind))
    return number


def words_on(words: ReaderWords, case_id: str) -> Sequence[KeptWord]:
    """Every word on a case; `InputRefused` for what is no case id."""
    try:
        return words.of_case(case_id)
    except KeyError:
        raise InputRefused(f"{case_id!r} is no case id; `gtr status --json` lists the ids of a night") from None


def stage_of(text: str) -> TStage:
    """A stage as a person writes it; `InputRefused` for anything else."""
    try:
        return TStage(text.strip().upper())
    except ValueError:
        raise InputRefused(f"{text[:20]!r} is no stage: T1, T2, T3 or T4") from None

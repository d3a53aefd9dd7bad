"""The reader's word on the key slice: which slice their page showed, and the slices that the word names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from gtr_batch.console.pictures import Pictures
from gtr_batch.domain.console import ConsoleCase
from gtr_batch.domain.prepared import ROLES
from gtr_batch.domain.reader_word import KeptWord, NewWord, Reader, WordKind
from gtr_batch.domain.slice_confirmation import with_neighbours
from gtr_batch.domain.staging import CaseStaging
from gtr_batch.errors import InputRefused
from gtr_batch.logs import get_logger

if TYPE_CHECKING:
    from gtr_console.queries import Console

_KEY = ROLES.index("key")


@frozen
class KeySliceForm:
    """What a case's page says of the key slice: its place (from 1) among the slices shown, and their digest."""

    number: int
    stack: str
    uids: Sequence[str]

    @property
    def count(self) -> int:
        """How many slices there are."""
        return len(self.uids)

    def place_of(self, word: KeptWord) -> str:
        """The place of the slice that a word names."""
        key = (word.slices or ("",) * len(ROLES))[_KEY]
        return (
            f"{self.uids.index(key) + 1} of {self.count}" if key in self.uids else "a slice that is not here any more"
        )


def key_slice_form(staging: CaseStaging | None, pictures: Pictures | None) -> KeySliceForm | None:
    """The form; None where the page does not show the three slices that were staged."""
    if staging is None or pictures is None or pictures.stack is None or len(staging.slices) != len(ROLES):
        return None
    places = tuple(pictures.stack.index(one.sop_instance_uid) for one in staging.slices)
    at = places[_KEY]
    if at is None or None in places or places != pictures.staged:
        return None
    return KeySliceForm(at + 1, pictures.stack.digest, [one.sop_instance_uid for one in pictures.stack.slices])


def say_of_key_slice(  # noqa: PLR0917 - as the form has them
    console: Console, case: ConsoleCase, by: Reader, kind: WordKind, seen: str, stack: str, number: int | None, why: str
) -> None:
    """Keep a radiologist's word on the key slice: confirmed, or moved to the slice of this number.

    Parameters
    ----------
    kind : WordKind
        `SLICE_CONFIRMED` or `SLICE_MOVED`.
    seen, stack : str
        Digests of the result and of the slices that the page showed.
    number : int or None
        Of a moved one: its place along the normal, from 1, as the page counts.

    Raises
    ------
    InputRefused
        Their own stage comes first, the case carries another result, or other slices, than the page showed, or there is
        no such slice.
    """
    if case.is_withheld:  # before anything else, as of every word
        raise InputRefused("your own stage comes first")
    about = console.site.words.result(case.case_id)
    if about.digest != seen:
        raise InputRefused("the result has changed since this page was opened")
    staging = console.site.cases.staging(case.case_id)
    shown = key_slice_form(staging, console.pictures.of(case.night, case.case_id, None))
    if staging is None or shown is None or shown.stack != stack:
        raise InputRefused("the slices have changed since this page was opened, or are not there any more")
    if kind is WordKind.SLICE_MOVED:
        slices = _moved(shown, number)
    else:
        slices = tuple(one.sop_instance_uid for one in staging.slices)
    console.site.words.say(NewWord(about, by, kind, why, slices=slices))
    get_logger("console").info("case.reader_word", case_id=case.case_id, kind=str(kind))


def _moved(shown: KeySliceForm, number: int | None) -> tuple[str, ...]:
    if number is None or not 1 <= number <= shown.count:
        raise InputRefused(f"who moves the key slice names one of 1 to {shown.count}")
    if number == shown.number:
        raise InputRefused(f"slice {number} is the key slice: that is to confirm it")
    return with_neighbours(shown.uids, number - 1)

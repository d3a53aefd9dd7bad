"""Series and instances of a PACS that caps its answers below the study: asked for in smaller questions.

Only single value matching divides a list of series or instances in every PACS: ranges are for dates and times, and
wildcards are not for numbers (PS3.4, C.2.2.2). So the series are asked for by Modality, then by Series Number, and the
instances by Instance Number, until there are as many as the PACS says there are. What cannot be shown to be complete is
`Capped`: a shorter list is never taken for the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pydicom import Dataset

from gtr_batch.domain.identifiers import Uid
from gtr_batch.pacs.find import Capped, identifier, instance_query, series_query
from gtr_batch.query_answers import integer, text, texts

Ask = Callable[[Dataset], tuple[list[Dataset], bool]]  # one C-FIND: its answers, and whether the PACS capped them

NEEDED = ("CT", "KO", "SEG", "RTSTRUCT")  # modalities that this service reads; asked for whatever the PACS says of them
LAST_NUMBER = 2000  # highest Series Number tried blindly


def series_by_number(ask: Ask, study_uid: Uid, before: Iterable[Dataset], tried: str) -> list[Dataset]:
    """All series of a study, beginning with the answers that the PACS gave `before` it stopped.

    Raises
    ------
    Capped
        They are not as many as the PACS says there are, or it does not say how many.
    """
    found = _Found("SeriesInstanceUID", before)
    study = identifier("STUDY", StudyInstanceUID=study_uid, ModalitiesInStudy="", NumberOfStudyRelatedSeries="")
    told = next(iter(ask(study)[0]), Dataset())
    found.total = integer(told, "NumberOfStudyRelatedSeries")
    modalities = dict.fromkeys([*texts(told, "ModalitiesInStudy"), *found.values("Modality"), *NEEDED])
    for modality in modalities:
        if found.complete:
            break
        answers, capped = ask(series_query(study_uid, Modality=modality))
        found.add(answers)
        found.certain = found.certain and not capped
    if not found.certain:  # some of one modality, or of several, are left: by number, whatever they are
        numbers = _outward(found.numbers("SeriesNumber"), LAST_NUMBER)
        found.walk(ask, (series_query(study_uid, SeriesNumber=str(n)) for n in numbers))
    return found.checked(tried)


def instances_by_number(
    ask: Ask, study_uid: Uid, series_uid: Uid, before: Iterable[Dataset], tried: str
) -> list[Dataset]:
    """All instances of a series, beginning with the answers that the PACS gave `before` it stopped; raises as above."""
    found = _Found("SOPInstanceUID", before)
    found.certain = False
    series = identifier(
        "SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid, NumberOfSeriesRelatedInstances=""
    )
    found.total = integer(next(iter(ask(series)[0]), Dataset()), "NumberOfSeriesRelatedInstances")
    if found.total is not None:
        numbers = _outward(found.numbers("InstanceNumber"), found.total)
        found.walk(ask, (instance_query(study_uid, series_uid, InstanceNumber=str(n)) for n in numbers))
    return found.checked(tried)


class _Found:
    """Answers by their UID, and whether they are all: `certain` while no question was left open."""

    def __init__(self, unique: str, answers: Iterable[Dataset]) -> None:
        self._unique = unique
        self._answers: dict[str, Dataset] = {}
        self.total: int | None = None
        self.certain = True
        self.add(answers)

    @property
    def complete(self) -> bool:
        """Whether there are as many as the PACS says there are."""
        return self.total is not None and len(self._answers) >= self.total

    def add(self, answers: Iterable[Dataset]) -> None:
        for ds in answers:
            self._answers.setdefault(text(ds, self._unique), ds)

    def values(self, keyword: str) -> list[str]:
        return [value for ds in self._answers.values() if (value := text(ds, keyword))]

    def numbers(self, keyword: str) -> list[int]:
        return [n for ds in self._answers.values() if (n := integer(ds, keyword)) is not None]

    def walk(self, ask: Ask, questions: Iterable[Dataset]) -> None:
        """Ask one question after another until there are as many as there should be.

        Ends also where an answer is capped: no smaller question is left, or the PACS does not look at the number.
        """
        for question in questions:
            if self.total is None or self.complete:
                return
            answers, capped = ask(question)
            self.add(answers)
            if capped:
                return

    def checked(self, tried: str) -> list[Dataset]:
        """The answers.

        Raises
        ------
        Capped
            They may not be all.
        """
        if self.complete or self.certain:
            return list(self._answers.values())
        of = "an unknown number" if self.total is None else str(self.total)
        raise Capped(
            f"{tried}: the PACS stopped after {len(self._answers)} answers of {of}, to smaller questions too; the list "
            "would be incomplete and was not taken. Raise the limit of answers in the PACS, or pacs.answer_cap if it "
            "is set too low"
        )


def _outward(seen: list[int], count: int) -> Iterator[int]:
    """Numbers to try: those around the ones seen, then from 0 up, then further out; each once, none negative."""
    low, high = min(seen, default=0), max(seen, default=0)
    spans = (range(low, high + 3) if high - low <= count else seen, range(count + 2), range(low - count, high + count))
    tried: set[int] = set()
    for span in spans:
        for number in span:
            if number >= 0 and number not in tried:
                tried.add(number)
                yield number

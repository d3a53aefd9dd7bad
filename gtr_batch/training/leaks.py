"""The leak gate: is a split of patients into training and test really one?

A model that is tested on patients it was trained on looks better than it is. The published split of the paper's first
hospital shares nearly all of its test patients with training, since slices and not patients were drawn.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import asdict, evolve, field, frozen

from gtr_batch.csv_rows import check_rows
from gtr_batch.domain.cohort import CohortManifest
from gtr_batch.errors import InputRefused

if TYPE_CHECKING:
    import pandas as pd

LISTED = 50  # offenders that are listed a kind; the counts are of all


@frozen
class LeakReport:
    """What leaks. Every list holds digests of patients or numbers of rows (the header is row 1), never a name.

    `patients_in_both`: patients with rows in more than one split. `rows_affected`: rows of the smallest split whose
    patient is in another one too. `conflicting_labels`: patients with more than one label.
    `straddling_duplicate_groups`: groups of rows that are alike in every column but the row's own name and the split,
    and lie in more than one split. `discordant_patients`: patients whose clinical rows disagree.
    """

    patients_in_both: int
    rows_affected: int
    conflicting_labels: int
    straddling_duplicate_groups: int
    discordant_patients: int
    rows: int
    patients: int
    splits: Mapping[str, int]  # rows a split
    patients_in_smallest: int
    smallest_split: str
    offenders: Mapping[str, Sequence[str | int | list[int]]] = field(factory=dict)

    @property
    def leaks(self) -> bool:
        """Whether anything at all is wrong."""
        return any(
            (
                self.patients_in_both,
                self.conflicting_labels,
                self.straddling_duplicate_groups,
                self.discordant_patients,
            )
        )

    def sentences(self) -> list[str]:
        """What was found, for people."""
        found = []
        if self.patients_in_both:
            found.append(
                f"{self.patients_in_both} patients have slices in more than one split: {self.rows_affected} of "
                f"{self.splits[self.smallest_split]} rows of '{self.smallest_split}' are of patients of another split"
            )
        if self.conflicting_labels:
            found.append(f"{self.conflicting_labels} patients have more than one label")
        if self.straddling_duplicate_groups:
            found.append(f"{self.straddling_duplicate_groups} groups of identical rows lie in more than one split")
        if self.discordant_patients:
            found.append(f"{self.discordant_patients} patients have clinical rows that disagree")
        return found or [f"no leak in {self.rows} rows of {self.patients} patients"]

    def to_json(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self) | {"leaks": self.leaks}


def check_table(
    table: pd.DataFrame,
    *,
    label: str,
    split: str,
    patient: str | None = None,
    pattern: str | None = None,
    image: str | None = None,
    clinical: pd.DataFrame | None = None,
    key: str | None = None,
) -> LeakReport:
    """Look for leaks in a table with one row a slice (or a patient).

    Parameters
    ----------
    table : pandas.DataFrame
    label, split : str
        Its columns of the stage and of the split.
    patient : str, optional
        Its column of the patient.
    pattern : str, optional
        Where there is no such column: a regular expression with one group, searched in `image`, that says who it is.
    image : str, optional
        The column that names a row; default `key`, else the first text column in which no value comes twice.
    clinical : pandas.DataFrame, optional
        Clinical rows, joined by `key` (in both tables; default `image`).

    Raises
    ------
    InputRefused
        A column is missing, a row names no patient, or there is only one split; says which.
    """
    if table.empty:
        raise InputRefused("the table has no rows")
    need(table, "table", label, split, *(c for c in (patient, image) if c))
    image = image or key or _names(table, [c for c in table.columns if c not in (label, split, patient)])
    who = patients_of(table, patient, pattern, image)
    if table[label].isna().any() or table[split].isna().any():
        row = int((table[label].isna() | table[split].isna()).to_numpy().argmax()) + 2
        raise InputRefused(f"row {row} has no {label} or no {split}")
    sizes = table[split].astype(str).value_counts()
    if len(sizes) < 2:
        raise InputRefused(f"column {split} holds one split only ({sizes.index[0]!r}): there is nothing to compare")
    smallest = min((int(n), str(name)) for name, n in sizes.items())[1]
    splits = table[split].astype(str)
    in_both = _more_than_one(who, splits)
    conflicting = _more_than_one(who, table[label].astype(str))
    inside = splits == smallest
    affected = inside & who.isin(in_both)
    content = [c for c in table.columns if c not in (split, image, patient)]
    informative = [c for c in content if c != label]
    groups = _straddling(table[content], splits) if informative else []
    discordant: list[str] = []
    if clinical is not None:
        merged, columns = _joined(table, clinical, key or image)
        discordant = _discordant(merged[columns], who)
        groups += _straddling(merged[columns], splits)
    return LeakReport(
        patients_in_both=len(in_both),
        rows_affected=int(affected.sum()),
        conflicting_labels=len(conflicting),
        straddling_duplicate_groups=len(groups),
        discordant_patients=len(discordant),
        rows=len(table),
        patients=int(who.nunique()),
        splits={str(k): int(v) for k, v in sizes.items()},
        patients_in_smallest=int(who[inside].nunique()),
        smallest_split=smallest,
        offenders={
            "patients_in_both": [token(p) for p in in_both[:LISTED]],
            "rows_affected": [int(n) + 2 for n in affected.to_numpy().nonzero()[0][:LISTED]],
            "conflicting_labels": [token(p) for p in conflicting[:LISTED]],
            "straddling_duplicate_groups": groups[:LISTED],
            "discordant_patients": [token(p) for p in discordant[:LISTED]],
        },
    )


def check_manifest(manifest: CohortManifest) -> LeakReport:
    """The same questions of a cohort's train and validation members; the sealed ones are checked as they are sealed."""
    import pandas as pd

    rows = [
        (m.subject, str(m.label), str(m.split), uid, m.covariates.tumour_size_cm, m.covariates.lauren)
        for m in manifest.members
        for uid in m.slices
    ]
    table = pd.DataFrame(rows, columns=["subject", "label", "split", "slice", "size_cm", "lauren"])
    if table["split"].nunique() < 2:
        raise InputRefused("the cohort has one split only: there is nothing to compare")
    found = check_table(table[["slice", "subject", "label", "split"]], label="label", split="split", patient="subject")
    shared = table.groupby("slice")["split"].nunique()
    slices = [token(s) for s in shared[shared > 1].index]
    if not slices:
        return found
    return evolve(found, straddling_duplicate_groups=found.straddling_duplicate_groups + len(slices))


def read_table(path: Path) -> pd.DataFrame:
    """A CSV as it is, all text kept as text where it is not a number.

    Raises
    ------
    InputRefused
        It cannot be read, or has a row of more or fewer fields than the header; says why.
    """
    import pandas as pd

    check_rows(Path(path))
    try:
        return pd.read_csv(path, low_memory=False)
    except (OSError, ValueError) as err:  # pandas' parser and decoding errors are ValueErrors
        raise InputRefused(f"cannot read {Path(path).name}: {str(err)[:200]}") from err


def need(table: pd.DataFrame, what: str, *columns: str) -> None:
    """Refuse a table that lacks a column; says which there are."""
    missing = [c for c in columns if c not in table.columns]
    if missing:
        there = ", ".join(map(str, table.columns[:12])) + (", …" if len(table.columns) > 12 else "")
        raise InputRefused(f"the {what} has no column {', '.join(missing)}; it has {there}")


def token(patient: object) -> str:
    """A patient as twelve digits of a digest: the same in every list, and not the identifier that the table holds."""
    return hashlib.sha256(str(patient).encode()).hexdigest()[:12]


def patients_of(table: pd.DataFrame, patient: str | None, pattern: str | None, image: str | None) -> pd.Series:
    """Who each row is of, by a column or by a pattern in the row's name; InputRefused where a row names nobody."""
    if (patient is None) == (pattern is None):
        raise InputRefused("give either the column of the patient or a pattern that finds it in the row's name")
    if patient is not None:
        who = table[patient]
        what = f"column {patient}"
    else:
        try:
            groups = re.compile(str(pattern)).groups
        except re.error as err:
            raise InputRefused(f"the patient pattern is no regular expression: {err}") from err
        if groups != 1:
            raise InputRefused(f"the patient pattern must have one group, the patient; it has {groups}")
        if image is None:
            raise InputRefused("no column names the rows: say which one the patient pattern is to be searched in")
        who = table[image].astype(str).str.extract(str(pattern), expand=False)
        what = f"the pattern in column {image}"
    if who.isna().any():
        lost = who.isna().to_numpy().nonzero()[0]
        raise InputRefused(f"{what} names no patient in {len(lost)} row(s), the first is row {int(lost[0]) + 2}")
    return who.astype(str)


def _names(table: pd.DataFrame, columns: list[str]) -> str | None:
    text = [c for c in columns if table[c].dtype.kind not in "biufc"]
    return next((c for c in text if table[c].is_unique), None)


def _more_than_one(who: pd.Series, value: pd.Series) -> list[str]:
    count = value.groupby(who.to_numpy()).nunique()
    return sorted(count[count > 1].index)


def _straddling(content: pd.DataFrame, splits: pd.Series) -> list[list[int]]:
    """Groups of identical rows in more than one split, as row numbers (at most four a group)."""
    import pandas as pd

    digest = pd.util.hash_pandas_object(content, index=False).to_numpy()
    twice = pd.Series(digest).duplicated(keep=False).to_numpy()
    if not twice.any():
        return []
    count = splits[twice].groupby(digest[twice]).nunique()
    straddling = set(count[count > 1].index)
    found: dict[int, list[int]] = {}
    for row in twice.nonzero()[0]:
        if digest[row] in straddling:
            found.setdefault(int(digest[row]), []).append(int(row) + 2)
    return [rows[:4] for rows in found.values()]


def _joined(table: pd.DataFrame, clinical: pd.DataFrame, key: str | None) -> tuple[pd.DataFrame, list[str]]:
    if key is None:
        raise InputRefused("clinical rows need a key column that both tables have")
    need(table, "table", key)
    need(clinical, "clinical table", key)
    if clinical[key].duplicated().any():
        raise InputRefused(f"the clinical table holds {int(clinical[key].duplicated().sum())} {key} twice")
    columns = [c for c in clinical.columns if c != key]
    merged = table[[key]].merge(clinical, on=key, how="left", sort=False)
    lost = ~table[key].isin(clinical[key])
    if lost.any():
        raise InputRefused(f"{int(lost.sum())} row(s) of the table have no clinical row by {key}")
    return merged, columns


def _discordant(content: pd.DataFrame, who: pd.Series) -> list[str]:
    import pandas as pd

    digest = pd.Series(pd.util.hash_pandas_object(content, index=False).to_numpy())
    return _more_than_one(who, digest)

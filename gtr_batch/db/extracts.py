"""What each EHR extract looks like: the table of ``sql/README.md`` as values."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from gtr_batch.domain.clinical import Differentiation, Lauren


class Kind(Enum):
    """What a column holds."""

    IDENTIFIER = "1 to 64 printable characters without backslash"
    UID = "a DICOM UID"
    DATE = "a date YYYY-MM-DD from 1900-01-01 to today"
    NUMBER = "a number"
    CHOICE = "one of"


@frozen
class Column:
    """One column; `low` is exclusive where `above`, numbers in the unit of the name."""

    name: str
    kind: Kind
    required: bool = False
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1_000_000.0
    above: bool = False

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.kind is Kind.CHOICE:
            return f"one of {', '.join(self.choices)}"
        if self.kind is Kind.NUMBER:
            lowest = f"above {self.low:g} and at most" if self.above else f"from {self.low:g} to"
            return f"a number {lowest} {self.high:g}"
        return self.kind.value


@frozen
class Extract:
    """One CSV file; `key` names the columns that no two rows share."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.name}.csv"

    @property
    def header(self) -> tuple[str, ...]:
        """The header, in order."""
        return tuple(column.name for column in self.columns)


def _date(name: str, required: bool = True) -> Column:
    return Column(name, Kind.DATE, required)


def _choice(name: str, *choices: str, required: bool = False) -> Column:
    return Column(name, Kind.CHOICE, required, choices)


def _t_category(name: str) -> Column:
    return _choice(name, "T0", "Tis", "T1", "T1a", "T1b", "T2", "T3", "T4", "T4a", "T4b")


_PATIENT = Column("patient_id", Kind.IDENTIFIER, required=True)

# In the order in which they are loaded: patients before what refers to them.
EXTRACTS: tuple[Extract, ...] = (
    Extract(
        "patient",
        (_PATIENT, _choice("sex", "female", "male", "other", "unknown", required=True), _date("birth_date")),
        ("patient_id",),
    ),
    Extract(
        "biopsy",
        (
            _PATIENT,
            _date("biopsy_date"),
            _choice("site", "stomach", "oesophagus", "duodenum", "other", required=True),
            _choice("adenocarcinoma", "yes", "no", required=True),
            _choice("lauren", *map(str, Lauren)),
            _choice("differentiation", *map(str, Differentiation)),
        ),
        ("patient_id", "biopsy_date", "site"),
    ),
    Extract(
        "tumour",
        (
            _PATIENT,
            _date("measured_on"),
            Column("size_cm", Kind.NUMBER, high=40, above=True),
            _choice("location", "lower", "middle", "upper"),
        ),
        ("patient_id", "measured_on"),
    ),
    Extract(
        "marker",
        (
            _PATIENT,
            _date("sampled_on"),
            *(
                Column(name, Kind.NUMBER)
                for name in ("cea_ng_ml", "ca19_9_u_ml", "ca72_4_u_ml", "ca125_u_ml", "afp_ng_ml")
            ),
            Column("pd_l1_percent", Kind.NUMBER, high=100),
        ),
        ("patient_id", "sampled_on"),
    ),
    Extract(
        "treatment",
        (
            _PATIENT,
            _choice("kind", "chemotherapy", "radiotherapy", required=True),
            _date("started_on"),
            _date("ended_on", required=False),
        ),
        ("patient_id", "kind", "started_on"),
    ),
    Extract(
        "metastasis",
        (_PATIENT, _date("assessed_on"), _choice("distant_metastasis", "yes", "no", required=True)),
        ("patient_id", "assessed_on"),
    ),
    Extract(
        "surgery",
        (
            _PATIENT,
            _date("operated_on"),
            _date("reported_on", required=False),
            _choice("classification", "pT", "ypT"),
            _t_category("t_category"),
        ),
        ("patient_id", "operated_on"),
    ),
    Extract(
        "read",
        (
            _PATIENT,
            Column("study_uid", Kind.UID, required=True),
            _date("read_on"),
            _t_category("radiologist_ct"),
            _t_category("endosonographer_ut"),
        ),
        ("study_uid",),
    ),
    Extract(
        "key_slice",
        (
            _PATIENT,
            Column("study_uid", Kind.UID),
            Column("accession_number", Kind.IDENTIFIER),
            Column("sop_instance_uid", Kind.UID, required=True),
        ),
        ("patient_id", "study_uid", "accession_number"),
    ),
)

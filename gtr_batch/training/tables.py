"""Rad-score and nomogram from tables of features, clinic and labels: `gtr fit-nomogram`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.domain.model import NomogramModel
from gtr_batch.domain.stage_coding import POSITIONS, code_in, coding_of
from gtr_batch.errors import InputRefused, ModelArtefactError
from gtr_batch.training.fit.nomogram import NomogramFit, fit_proportional_odds, model_of
from gtr_batch.training.fit.rad_score import fit_rad_score
from gtr_batch.training.leaks import need, patients_of, read_table

if TYPE_CHECKING:
    import pandas as pd

_SIZE = ("tumour_size_cm", "Tumor_size", "tumor_size", "size_cm")
_WORDS = {"differentiation": tuple(map(str, Differentiation)), "lauren": tuple(map(str, Lauren))}
_ONE_HOT = {"differentiation": "Differentiation_status_", "lauren": "Lauren_"}


@frozen
class TableFit:
    """Rad-score and nomogram fitted from `rows` of tables.

    `features` is how many the tables held; the rad-score `selected` some, with `coefficients` for their standardised
    values. `nomogram` is None where the fit may not be used; `refused` then says why.
    """

    nomogram: NomogramModel | None
    rows: int
    patients: int
    features: int
    selected: tuple[str, ...]
    coefficients: tuple[float, ...]
    fit: NomogramFit
    refused: str | None
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-able, without the model itself."""
        return {
            "rows": self.rows,
            "patients": self.patients,
            "rad_score": {
                "features": self.features,
                "selected": list(self.selected),
                "coefficients": list(self.coefficients),
            },
            "nomogram": self.fit.to_json(),
            "usable": self.nomogram is not None,
            "refused": self.refused,
            "warnings": list(self.warnings),
        }


def fit_tables(
    features: Path,
    clinical: Path,
    labels: Path,
    *,
    key: str = "image_name",
    label: str = "label",
    pattern: str | None = None,
    folds_seed: int = 0,
) -> TableFit:
    """Fit rad-score and nomogram on tables joined by `key`.

    Parameters
    ----------
    features : Path
        CSV: `key` and numeric features.
    clinical : Path
        CSV: `key`, tumour size in cm, differentiation and Lauren type, each as one column of words or one column a
        level (as the paper's authors published them).
    labels : Path
        CSV: `key` and `label` (0-3, 1-4 or T1-T4); a patient column or a column of the split may be there too.
    pattern : str, optional
        Regular expression with one group that finds the patient in `key`; patients stay in one fold. None: the column
        ``patient`` of the labels where there is one, else each row is its own patient, which the answer says.

    Raises
    ------
    InputRefused
        Columns are missing, keys do not match, values are not numbers.
    """
    tables = {"features": read_table(features), "clinical table": read_table(clinical), "labels": read_table(labels)}
    for what, table in tables.items():
        need(table, what, key)
        if table[key].duplicated().any():
            raise InputRefused(f"the {what} hold {int(table[key].duplicated().sum())} {key} twice")
    need(tables["labels"], "labels", label)
    warnings: list[str] = []
    joined = (
        tables["labels"].merge(tables["features"], on=key, suffixes=("", "__f")).merge(tables["clinical table"], on=key)
    )
    if joined.empty:
        raise InputRefused(f"no {key} is in all three tables")
    lost = max(len(t) for t in tables.values()) - len(joined)
    if lost:
        warnings.append(f"{lost} rows are not in all three tables and were left out")
    stages = stages_of(joined[label])
    columns = []
    for name in (c for c in tables["features"].columns if c != key):
        # A column that determines every stage is the answer, not a feature; the published table carries one.
        if name == label or _determines(joined[name if name in joined else f"{name}__f"].to_numpy(), stages):
            warnings.append(f"column {name} of the features is the label itself and was left out")
        else:
            columns.append(name)
    x = joined[[c if c in joined else f"{c}__f" for c in columns]].to_numpy()
    if x.dtype.kind not in "fiu" or not np.isfinite(x.astype(float)).all():
        raise InputRefused("the features hold values that are not finite numbers")
    groups, notes = _groups(joined, key, pattern)
    warnings += notes
    covariates = _covariates(joined, warnings)
    warnings += _discordance(groups, covariates, stages)
    rad = fit_rad_score(x.astype(float), stages, groups, folds_seed)
    standardised = (x[:, list(rad.selected)] - np.array(rad.feature_mean)) / np.array(rad.feature_scale)
    scores = (rad.intercept + standardised @ np.array(rad.coefficients) - rad.score_mean) / rad.score_scale
    fitted = fit_proportional_odds("tables", scores, covariates, stages)
    model, refusal = None, None
    try:
        model = model_of("tables", fitted, covariates, note=f"fitted on {len(joined)} rows of tables")
    except ModelArtefactError as err:
        refusal = str(err)
    return TableFit(
        nomogram=model,
        rows=len(joined),
        patients=len(np.unique(groups)),
        features=len(columns),
        selected=tuple(columns[k] for k in rad.selected),
        coefficients=tuple(rad.coefficients),
        fit=fitted,
        refused=refusal,
        warnings=tuple(warnings),
    )


def stages_of(column: pd.Series) -> np.ndarray:
    """Labels as positions 0 to 3: 0-3, 1-4 or T1-T4.

    Raises
    ------
    InputRefused
        Anything else, or numbers that could be both.
    """
    codes = [code_in(t) for t in column.astype(str)]
    coding = coding_of(set(codes), "the column of labels")
    if coding is None:
        raise InputRefused("labels are only 1, 2 and 3: they could be T2 to T4 or T1 to T3; write T1, T2, T3, T4")
    strange = sorted(set(codes) - set(POSITIONS[coding]))[:5]
    if strange:
        raise InputRefused(f"labels must be 0-3, 1-4 or T1-T4; found {', '.join(strange)}")
    return np.array([POSITIONS[coding][c] for c in codes], int)


def _determines(column: np.ndarray, stages: np.ndarray) -> bool:
    """Whether a column is constant within each stage and differs between them."""
    values = [np.unique(column[stages == k]) for k in np.unique(stages)]
    return all(len(v) == 1 for v in values) and len({v[0] for v in values}) == len(values)


def _groups(joined: pd.DataFrame, key: str, pattern: str | None) -> tuple[np.ndarray, list[str]]:
    if pattern:
        return patients_of(joined, None, pattern, key).to_numpy(), []
    if "patient" in joined:
        return joined["patient"].astype(str).to_numpy(), []
    return np.arange(len(joined)), ["no patient is given: each row counts as its own patient in the folds"]


def _covariates(joined: pd.DataFrame, warnings: list[str]) -> list[Covariates]:
    size = next((c for c in _SIZE if c in joined), None)
    if size is None:
        raise InputRefused(f"the clinical table has no tumour size; one of {', '.join(_SIZE)} is looked for")
    levels = {name: _levels(joined, name) for name in _WORDS}
    unknown = {name: sum(v is None for v in column) for name, column in levels.items()}
    warnings += [f"{name} is not known in {n} rows" for name, n in unknown.items() if n]
    made = []
    for cm, grade, kind in zip(joined[size], levels["differentiation"], levels["lauren"], strict=True):
        known = cm if np.isfinite(cm) and 0 < cm <= 40 else None
        made.append(Covariates(known, Differentiation(grade) if grade else None, Lauren(kind) if kind else None))
    return made


def _levels(joined: pd.DataFrame, name: str) -> list[str | None]:
    if name in joined:
        text = joined[name].astype(str).str.strip().str.lower()
        strange = sorted(set(text) - {*_WORDS[name], "nan", ""})
        if strange:
            raise InputRefused(f"{name} {strange[0]!r} is not known; one of {', '.join(_WORDS[name])}")
        return [t if t in _WORDS[name] else None for t in text]
    columns = {level: f"{_ONE_HOT[name]}{level}" for level in _WORDS[name]}
    need(joined, "clinical table", *columns.values())
    flags = joined[list(columns.values())].to_numpy()
    return [list(columns)[int(row.argmax())] if row.sum() == 1 else None for row in flags]


def _discordance(groups: np.ndarray, covariates: list[Covariates], stages: np.ndarray) -> list[str]:
    rows: dict[str | int, set[Covariates]] = {}
    labels: dict[str | int, set[int]] = {}
    for who, c, stage in zip(groups, covariates, stages, strict=True):
        rows.setdefault(who, set()).add(c)
        labels.setdefault(who, set()).add(int(stage))
    found = []
    differing = sum(len(v) > 1 for v in rows.values())
    if differing:
        found.append(f"{differing} of {len(rows)} patients have clinical rows that disagree; the p-values mean little")
    several = sum(len(v) > 1 for v in labels.values())
    if several:
        found.append(f"{several} patients have more than one label")
    if len(rows) < len(groups):
        found.append(
            f"{len(groups)} rows are of {len(rows)} patients: the standard errors, which take rows as independent, "
            "are too small"
        )
    return found

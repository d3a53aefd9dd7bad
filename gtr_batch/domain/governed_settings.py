"""Governed settings: those that decide who is staged, what is sent and what is promoted.

The settings file gives them; a row of the settings' history, which says who changed it and why, wins over the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import typing
from collections.abc import Mapping
from datetime import datetime

import attrs
from attrs import frozen

from gtr_batch.config import Config, GovernanceConfig
from gtr_batch.errors import ConfigError, InputRefused

SettingValue = bool | int | float | str

GOVERNED: tuple[str, ...] = (
    # eligibility
    "intake.refuse_without_ehr",
    "validate.min_thickness_mm",
    "validate.max_thickness_mm",
    "validate.min_slices",
    "validate.min_coverage_mm",
    "validate.max_tilt_degrees",
    "validate.gap_tolerance",
    # staging
    "stage.abstain_level",
    # delivery
    "night.failure_tolerance",
    "report.refusal_sr",
    "report.parametric_map",
    "report.secondary_capture",
    "report.key_objects",
    "report.pdf",
    "report.reject_withdrawn",
    "report.primary",
    "audit.pause_delivery",
    # the gate; who may approve is nothing that an approver changes
    *(f"governance.{a.name}" for a in attrs.fields(GovernanceConfig) if a.name != "approvers"),
    # the audit: how many false alarms, for what shift, from how many patients on
    "audit.false_alarm_budget",
    "audit.horizon_months",
    "audit.odds_ratio",
    "audit.tolerated_odds_ratio",
    "audit.minimum_labels",
    "audit.minimum_cases",
    "audit.baseline_weeks",
    "audit.label_wait_days",
)


@frozen
class SettingChange:
    """A change of a governed setting; `value` is None where it was given back to the settings file."""

    name: str
    value: SettingValue | None
    by_whom: str
    why: str
    at: datetime


@frozen
class NightOpening:
    """A night was begun, or begun again, with this model and under the settings of this digest."""

    at: datetime
    model_version: str
    settings_digest: str


def governed(config: Config) -> dict[str, SettingValue]:
    """Every governed setting with its value, by ``section.name``."""
    return {name: getattr(getattr(config, section), key) for name, section, key in _split()}


def with_governed(config: Config, history: Mapping[str, SettingValue]) -> Config:
    """`config` with the history's values over the file's; a name that is not governed any more is passed over."""
    sections: dict[str, dict[str, SettingValue]] = {}
    for name, value in history.items():
        if name in GOVERNED:
            section, key = name.split(".")
            sections.setdefault(section, {})[key] = value
    return attrs.evolve(
        config, **{section: attrs.evolve(getattr(config, section), **v) for section, v in sections.items()}
    )


def checked_value(name: str, text: str) -> SettingValue:
    """A governed setting's value out of words.

    Raises
    ------
    InputRefused
        Not a governed setting, or not a value of its kind; names the setting and what it takes.
    """
    if name not in GOVERNED:
        raise InputRefused(f"setting {name!r} is not governed by history; those that are: {', '.join(GOVERNED)}")
    section, key = name.split(".")
    kind = typing.get_type_hints(typing.get_type_hints(Config)[section])[key]
    words = {"true": True, "yes": True, "false": False, "no": False}
    if kind is bool:
        if text.lower() not in words:
            raise InputRefused(f"setting {name} is {text!r}; yes or no")
        return words[text.lower()]
    value: SettingValue = text if kind is str else _number(name, text, kind)
    if section == "governance" and isinstance(value, float) and value > 1:
        raise InputRefused(f"setting {name} is {text!r}; a share from 0 to 1")
    if section == "audit" and value == 0:
        raise InputRefused(f"setting {name} is {text!r}; a number above 0")
    try:
        with_governed(Config(), {name: value})  # what no night could begin under must not come into the history
    except ConfigError as err:
        raise InputRefused(f"setting {name} is {text!r}: {err}") from err
    return value


def _number(name: str, text: str, kind: type[int] | type[float]) -> int | float:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputRefused(f"setting {name} is {text!r}; a number of kind {kind.__name__}, 0 or more")
    return value


def digest_of_settings(settings: Mapping[str, SettingValue]) -> str:
    """SHA-256 of governed settings: the same values, the same digest."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _split() -> list[tuple[str, str, str]]:
    return [(name, *name.split(".")) for name in GOVERNED]  # type: ignore[misc]

"""The settings that an audit's answer depends on, as they were when it was made."""

from __future__ import annotations

import attrs
from attrs import frozen
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from gtr_batch.config import AuditConfig, Config, GovernanceConfig
from gtr_batch.domain.audit_json import CONVERTER

_NOT_OF_THE_RESULT = ("folder", "weekly_schedule", "monthly_schedule")


@frozen
class AuditSettings(AuditConfig):
    """The section audit, and the cap on understaged T4 that the gate has too.

    Where the files lie and when an audit is due are left at their defaults, and out of the JSON: they change no answer.
    A setting that a kept audit does not name is at its default.
    """

    t4_understaging_cap: float = GovernanceConfig().t4_understaging_cap

    @classmethod
    def of(cls, config: Config) -> AuditSettings:
        """Those of a site."""
        names = [a.name for a in attrs.fields(AuditConfig) if a.name not in _NOT_OF_THE_RESULT]
        return cls(
            **{name: getattr(config.audit, name) for name in names},
            t4_understaging_cap=config.governance.t4_understaging_cap,
        )


_left_out = override(omit=True)
CONVERTER.register_unstructure_hook(
    AuditSettings,
    make_dict_unstructure_fn(
        AuditSettings, CONVERTER, folder=_left_out, weekly_schedule=_left_out, monthly_schedule=_left_out
    ),
)
CONVERTER.register_structure_hook(
    AuditSettings,
    make_dict_structure_fn(
        AuditSettings, CONVERTER, folder=_left_out, weekly_schedule=_left_out, monthly_schedule=_left_out
    ),
)

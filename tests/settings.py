"""Settings as a process of ours is given them from outside."""

from __future__ import annotations

import attrs

from gtr_batch.config import Config


def as_environment(config: Config) -> dict[str, str]:
    """Settings that are not the default, as environment variables."""
    found = {}
    for section in attrs.fields(Config):
        mine = getattr(config, section.name)
        for one in attrs.fields(type(mine)):
            value = getattr(mine, one.name)
            if value != getattr(type(mine)(), one.name):
                text = ",".join(value) if isinstance(value, tuple) else str(value)
                found[f"GTR_{section.name}__{one.name}".upper()] = text
    return found

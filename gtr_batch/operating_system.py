"""Who runs this process, as the operating system knows it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

_LOGIN = Path("/proc/self/loginuid")
_NOBODY_LOGGED_IN = 2**32 - 1


def operating_system_user() -> str:
    """The account of this process; with the one that logged in first, where Linux knows another: ``root (by ada)``.

    The login's account survives ``su`` and ``sudo``; unlike ``SUDO_USER`` and ``LOGNAME`` it is no variable that the
    caller sets.
    """
    account = _name(os.getuid())
    try:
        login = int(_LOGIN.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return account
    return account if login in (_NOBODY_LOGGED_IN, os.getuid()) else f"{account} (by {_name(login)})"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user often has no entry
        return f"uid {uid}"

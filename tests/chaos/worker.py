"""A worker: one process that runs a night from PACS to PACS, trying a step again as Airflow does."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path

from gtr_batch.config import Config
from gtr_batch.errors import CasesSentBack, NightFailed, TransientError

TRIES, PAUSE_S = 3, 1.0
GREEN, RED, LATER, BROKEN = 0, 1, 4, 70  # exit codes: as the command line's, and a fault that is none of ours


def run_night(config: Config, night: date, log: Path, moments: Connection | None) -> None:
    """Run a night and end the process; a byte goes to `moments` for each case that a step has done."""
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(_exit_code(lambda: _night(config, night, moments)))


def _exit_code(work: Callable[[], None]) -> int:
    try:
        work()
    except NightFailed as err:
        print("red:", err, flush=True)
        return RED
    except TransientError as err:
        print("later:", err, flush=True)
        return LATER
    except Exception:  # noqa: BLE001 - told to whoever reads the log of the round
        traceback.print_exc()
        return BROKEN
    return GREEN


def _night(config: Config, night: date, moments: Connection | None) -> None:
    from gtr_batch import night as steps
    from gtr_batch.wiring import open_site

    def progress(*_: object) -> None:
        if moments is not None:
            moments.send_bytes(b".")

    with open_site(config, progress=progress) as site:
        studies = _tried(lambda: steps.query_pacs(site, night))
        shards = _tried(lambda: steps.intake(site, night, studies))
        for shard in shards:
            for step in steps.SHARD_STEPS:
                try:
                    _tried(lambda step=step, shard=shard: step(site, night, shard))
                except (TransientError, CasesSentBack) as err:  # the next step runs for the others, as in Airflow
                    print("step:", err, flush=True)
        _tried(lambda: steps.close_night(site, night))


def _tried(work: Callable[[], object]) -> object:
    for _ in range(TRIES - 1):
        try:
            return work()
        except TransientError as err:
            print("again:", err, flush=True)
            time.sleep(PAUSE_S)
    return work()

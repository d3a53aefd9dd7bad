"""A process whose children send what waits and are killed at a point.

Reads a point and settings a line, as JSON, and writes how the child ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import gtr_batch.report.codes
from gtr_batch import wiring
from gtr_batch.db.messages import PostgresResultMessages
from gtr_batch.ris import RisReceiver, mllp

POINTS = {
    "before it connects": (RisReceiver, "connect", False),
    "before the try is noted": (PostgresResultMessages, "claim", False),
    "after the try is noted": (PostgresResultMessages, "claim", True),
    "before it is sent": (mllp, "framed", False),
    "after it is sent": (mllp, "_frame", False),
    "after it is answered": (mllp, "_frame", True),
    "before the answer is noted": (PostgresResultMessages, "end", False),
    "after the answer is noted": (PostgresResultMessages, "end", True),
}


def strike(point: str) -> None:
    """Let this process be killed when it comes to the point."""
    where, name, after = POINTS[point]
    real = getattr(where, name)

    def killed(*args, **kwargs):
        if after:
            real(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(where, name, killed)


if __name__ == "__main__":
    assert gtr_batch.report.codes
    for line in sys.stdin:
        point, environment = json.loads(line)
        child = os.fork()
        if child == 0:
            os.environ.update(environment)
            strike(point)
            wiring.send_result_messages()
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

"""The process of one night of `bench_night`: reads its job, writes what the night took."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import attrs

from gtr_batch import logs
from tests.bench.bench_night import night_alone

if __name__ == "__main__":
    logs.configure(level="ERROR")
    Path(sys.argv[2]).write_text(json.dumps(attrs.asdict(night_alone(*pickle.loads(Path(sys.argv[1]).read_bytes())))))

"""``python -m tests.bench.malformed [--files 5000]``: what malformed files cost, each in a process with 1 GB.

Every file is read by every reader in a process of its own. A fault, more than `SECONDS` of processor time or more than
1 GB of memory is reported with the number that draws the file again.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import resource
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.hostile_files import LYING, deflated, nested, saved
from tests.malformed_files import damaged, drawn, read_by_everyone, valid_files

SECONDS, BYTES = 5, 1024**3
HOSTILE = {
    **{name: lambda path, make=make: saved(path, make()) for name, make in LYING.items()},
    "deflated": lambda path: deflated(path, 3000),
    **{
        f"nested {depth} {undefined}": lambda path, depth=depth, undefined=undefined: nested(
            path, depth, undefined=undefined
        )
        for depth in (200, 20_000)
        for undefined in (True, False)
    },
}


def main() -> None:
    """Draw, read and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    files = parser.parse_args().files
    valid_files()  # once, for all forks
    context = multiprocessing.get_context("fork")
    with context.Pool(2, maxtasksperchild=1) as pool:
        outcomes = [("", 0.0, 0, "")]
        for outcome in pool.imap_unordered(_read, [*HOSTILE, *range(files)], chunksize=1):
            outcomes.append(outcome)
            if outcome[3]:
                print(f"{outcome[0]}: {outcome[3]}")
    slowest, largest = max(outcomes, key=lambda o: o[1]), max(outcomes, key=lambda o: o[2])
    faults = sum(bool(o[3]) for o in outcomes)
    print(f"{len(outcomes) - 1} files, {faults} faults; at most {slowest[1]:.1f} s ({slowest[0]}) and "
          f"{largest[2] / 2**20:.0f} MiB ({largest[0]})")  # fmt: skip
    sys.exit(faults > 0)


def _read(what: str | int) -> tuple[str, float, int, str]:
    """A file's name, its seconds, the bytes it took beyond the process's own, and its fault, if it had one."""
    warnings.simplefilter("ignore")
    sys.stdout = sys.stderr = io.StringIO()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.dcm")
        if isinstance(what, int):
            name, damages = drawn(what)
            path.write_bytes(damaged(valid_files()[name], damages))
        else:
            HOSTILE[what](path)
        resource.setrlimit(resource.RLIMIT_DATA, (BYTES + _data_bytes(), resource.RLIM_INFINITY))
        begun = time.process_time()
        try:
            read_by_everyone(Path(folder))
            fault = ""
        except Exception as err:  # noqa: BLE001 - what this looks for
            fault = type(err).__name__
    seconds, taken = time.process_time() - begun, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if not fault and (seconds > SECONDS or taken > BYTES):
        fault = f"{seconds:.1f} s, {taken / 2**20:.0f} MiB"
    return str(what), seconds, taken, fault


def _data_bytes() -> int:
    """What counts against ``RLIMIT_DATA`` already: far more than is resident."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()

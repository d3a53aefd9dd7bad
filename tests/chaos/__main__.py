"""``python -m tests.chaos [--cases 24] [--rounds 40] [--seed 1]``: nights with a fault each, counted.

Each round is a night on a fresh PACS (Orthanc) and database, in which one fault strikes at a seeded moment; the night
is run again until it is green. What it left is compared with an undisturbed night, object by object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from gtr_batch import logs
from tests.chaos.hospital import Hospitals, preload, undisturbed
from tests.chaos.rounds import FAULTS, Round, planned, play

LIMIT = 6.0  # times the undisturbed night, after which a run is hung


def run(
    folder: Path,
    program: str,
    artefact: Path,
    *,
    cases: int,
    rounds: int,
    seed: int,
    shard_size: int,
    say: Callable[[str], None] = print,
    first: int = 1,
    fault: str = "",
) -> Iterator[Round]:
    """Play the rounds; yields each with what came of it."""
    preload()
    with Hospitals(folder, program, artefact, cases, shard_size).running() as hospitals:
        with hospitals.fresh() as hospital:
            reference, moments, seconds = undisturbed(hospital, 1200)
        limit_s = max(120.0, LIMIT * seconds)
        say(f"undisturbed: {cases} cases in {seconds:.0f} s, {moments} moments; a run is hung after {limit_s:.0f} s")
        for one in planned(seed, rounds, moments)[first - 1 :]:
            if fault not in ("", one.fault):
                continue
            with hospitals.fresh() as hospital:
                play(one, hospital, reference, limit_s)
                if not one.sound:
                    shutil.copy(hospital.log, folder / f"round{one.number}.log")
            came = "sound" if one.sound else "; ".join(one.why)
            say(
                f"{one.number:3d} {one.fault} at {one.moment}+{one.delay_s} s: {one.runs} runs, {one.seconds} s, {came}"
            )
            yield one


def table(rounds: list[Round]) -> str:
    """The rounds by fault, as a table of Markdown."""
    lines = [
        "| fault | rounds | runs until green | lost | doubled | wrong state | hung |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in [*FAULTS, "all"]:
        mine = [one for one in rounds if name in (one.fault, "all")]
        if mine:
            runs = sum(one.runs for one in mine) / len(mine)
            counts = " | ".join(str(sum(getattr(one, c) for one in mine)) for c in ("lost", "doubled", "wrong", "hung"))
            lines.append(f"| {name} | {len(mine)} | {runs:.1f} | {counts} |")
    return "\n".join(lines)


def main() -> int:
    """Play, print the table, write it with every round; 1 where a round was not sound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=1, help="the round to begin with")
    parser.add_argument("--fault", choices=list(FAULTS), default="", help="play the rounds of this fault alone")
    parser.add_argument("--shard-size", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("chaos.json"))
    given = parser.parse_args()
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None:
        parser.error("Orthanc is not installed (Debian: orthanc): these nights need a PACS that commits")
    from tests.nights.conftest import random_artefact

    logs.configure(level="ERROR")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="gtr-chaos-") as scratch:
        artefact = random_artefact(Path(scratch) / "artefact", 7)
        rounds = []
        for one in run(
            Path(scratch), program, artefact, cases=given.cases, rounds=given.rounds, seed=given.seed,
            shard_size=given.shard_size, say=lambda text: print(text, flush=True), first=given.first, fault=given.fault,
        ):  # fmt: skip
            rounds.append(one)
            given.out.write_text(json.dumps([each.as_json() for each in rounds], indent=1) + "\n")
            if not one.sound:
                shutil.copy(Path(scratch) / f"round{one.number}.log", given.out.with_suffix(f".round{one.number}.log"))
    print(table(rounds))
    return 0 if all(one.sound for one in rounds) else 1


if __name__ == "__main__":
    sys.exit(main())

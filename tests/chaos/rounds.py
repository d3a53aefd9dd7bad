"""Rounds: one fault a night, at a seeded moment; then the night is run again until it is green, and counted."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from attrs import asdict, define, field

from tests.chaos.hospital import Hospital, Outcome
from tests.chaos.worker import BROKEN, GREEN

MOST_RUNS = 4  # after the one that the fault hit
DOWN_S = 2.0
SLOW_S = 6.0


def kill_worker(hospital: Hospital, worker: multiprocessing.Process) -> None:
    worker.kill()


def kill_pacs(hospital: Hospital, worker: multiprocessing.Process) -> None:
    hospital.kill_pacs()
    time.sleep(DOWN_S)
    hospital.start_pacs()


def cut_line(hospital: Hospital, worker: multiprocessing.Process) -> None:
    hospital.line.cut()


def slow_line(hospital: Hospital, worker: multiprocessing.Process) -> None:
    hospital.line.slow_for(SLOW_S)


def terminate_sessions(hospital: Hospital, worker: multiprocessing.Process) -> None:
    hospital.terminate_sessions()


def restart_database(hospital: Hospital, worker: multiprocessing.Process) -> None:
    hospital.postgres.stop("immediate")
    hospital.postgres.start()


def second_worker(hospital: Hospital, worker: multiprocessing.Process) -> None:
    """The same night is started once more; who is first does a case, and nobody does it twice."""
    hospital.worker().join()


def kill_everything(hospital: Hospital, worker: multiprocessing.Process) -> None:
    """A power cut of one machine that holds it all."""
    worker.kill()
    hospital.postgres.stop("immediate")
    hospital.kill_pacs()
    hospital.postgres.start()
    hospital.start_pacs()


FAULTS: dict[str, Callable[[Hospital, multiprocessing.Process], None]] = {
    "worker killed": kill_worker,
    "PACS killed": kill_pacs,
    "line cut": cut_line,
    "line at 1 KB/s": slow_line,
    "sessions terminated": terminate_sessions,
    "PostgreSQL crashed": restart_database,
    "the night started twice": second_worker,
    "everything killed": kill_everything,
}


@define
class Round:
    """One round and what came of it; counts are of cases, `doubled` of objects and cases."""

    number: int
    fault: str
    moment: int
    delay_s: float
    runs: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    hung: int = 0
    seconds: float = 0.0
    why: list[str] = field(factory=list)

    @property
    def sound(self) -> bool:
        return not (self.lost or self.doubled or self.wrong or self.hung)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def planned(seed: int, rounds: int, moments: int) -> list[Round]:
    """Which fault at which moment: each fault as often as the others, moments at random; the same for a seed."""
    dice = random.Random(seed)
    names = list(FAULTS)
    return [
        Round(k + 1, names[k % len(names)], dice.randrange(moments), round(dice.uniform(0.0, 0.4), 3))
        for k in range(rounds)
    ]


def play(one: Round, hospital: Hospital, reference: Outcome, limit_s: float) -> None:
    """Run the night, let the fault strike, run it again until it is green; then compare with the undisturbed one."""
    began = time.monotonic()
    context = multiprocessing.get_context("forkserver")
    read, write = context.Pipe(duplex=False)
    worker = hospital.worker(write)
    write.close()
    if _reached(read, one.moment, limit_s):
        time.sleep(one.delay_s)
        FAULTS[one.fault](hospital, worker)
    _end(worker, one, limit_s, read)
    one.runs = 1
    _check_while_unfinished(one, hospital)
    code = worker.exitcode
    while code != GREEN and one.runs <= MOST_RUNS and not one.hung:
        again = hospital.worker()
        _end(again, one, limit_s)
        one.runs += 1
        code = again.exitcode
        if code == BROKEN:
            one.wrong += 1
            one.why.append(f"run {one.runs} ended with a fault that is not one of ours")
    _compare(one, hospital.outcome(), reference)
    one.seconds = round(time.monotonic() - began, 1)


def _reached(read: Connection, moment: int, limit_s: float) -> bool:
    """Wait for the moment; false where the worker has ended before."""
    for _ in range(moment + 1):
        if not read.poll(limit_s):
            return False
        try:
            read.recv_bytes()
        except EOFError:
            return False
    return True


def _end(worker: multiprocessing.Process, one: Round, limit_s: float, read: Connection | None = None) -> None:
    """Wait until the worker ends, reading what it sends; one that does not is hung, and killed."""
    until = time.monotonic() + limit_s
    while worker.is_alive() and time.monotonic() < until:
        if read is not None and read.poll(0.2):
            try:
                read.recv_bytes()
            except EOFError:
                read = None
        elif read is None:
            worker.join(0.5)
    if worker.is_alive():
        one.hung += 1
        one.why.append(f"a run did not end within {limit_s:.0f} s")
        worker.kill()
    worker.join()


def _check_while_unfinished(one: Round, hospital: Hospital) -> None:
    """What the database calls stored or committed lies in the PACS at once, whatever struck in between."""
    now = hospital.outcome()
    for study, state in now.states.items():
        if state in ("stored", "committed") and not now.written[study] <= set(now.listed.get(study, ())):
            one.wrong += 1
            one.why.append(f"{state}, and the PACS does not list all of it: study {study}")


def _compare(one: Round, found: Outcome, reference: Outcome) -> None:
    """Each case once, as it would be undisturbed; each of its results once, and no other, in the PACS."""
    for study, expected in reference.listed.items():
        listed, written = found.listed.get(study, ()), found.written.get(study, frozenset())
        missing, extra = written - set(listed), set(listed) - written
        if missing or len(written) < len(expected):
            one.lost += 1
            one.why.append(f"{len(missing)} of {len(written)} results are not in the PACS: study {study}")
        if extra or len(listed) != len(set(listed)) or found.cases.get(study, 0) > 1:
            one.doubled += 1
            one.why.append(f"{len(extra)} results too many, {found.cases.get(study, 0)} cases: study {study}")
        if found.states.get(study) != reference.states[study]:
            one.wrong += 1
            one.why.append(f"{found.states.get(study)} instead of {reference.states[study]}: study {study}")
        elif found.answers[study] != reference.answers[study]:
            one.wrong += 1
            one.why.append(f"{found.answers[study]} instead of {reference.answers[study]}: study {study}")

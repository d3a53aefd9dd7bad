"""One association for many calls: opened when first needed, shared while a block of `connected` runs, always released.

An association costs two round trips, a thread in the PACS and, in some, a licence. Between two calls the PACS may close
it (idle time-outs are common): the next call then opens another, which is no error of that call. What fails after the
PACS began to answer is never repeated here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from attrs import field, frozen
from pynetdicom.presentation import PresentationContext

from gtr_batch.errors import AssociationLost
from gtr_batch.pacs.association import Caller, OpenAssociation
from gtr_batch.pacs.contexts import MAX_CONTEXTS

T = TypeVar("T")
Contexts = Callable[[], Sequence[PresentationContext]]


@frozen
class Need:
    """What a call needs of an association.

    `contexts` are what it proposes where it opens one alone; of `sop_classes` the PACS must have accepted each on an
    association that was opened for more; for `scp_roles` we take the SCP role (C-GET); `max_bytes`: most bytes that the
    call may receive, 0 for no limit.
    """

    contexts: Sequence[PresentationContext]
    sop_classes: frozenset[str]
    scp_roles: tuple[str, ...] = ()
    max_bytes: int = 0
    proposed: frozenset[tuple[str, str, bool]] = field(init=False)

    @proposed.default
    def _proposed(self) -> frozenset[tuple[str, str, bool]]:
        return frozenset(
            (str(cx.abstract_syntax), str(syntax), cx.abstract_syntax in self.scp_roles)
            for cx in self.contexts
            for syntax in cx.transfer_syntax
        )

    def with_more(self, other: Need) -> Need:
        """Both needs on one association; this one alone where they do not fit."""
        more = [cx for cx in other.contexts if cx.abstract_syntax not in {c.abstract_syntax for c in self.contexts}]
        both = Need(
            [*self.contexts, *more],
            self.sop_classes,
            tuple(dict.fromkeys([*self.scp_roles, *other.scp_roles])),
            self.max_bytes,
        )
        fits = len(both.contexts) <= MAX_CONTEXTS and both.proposed >= self.proposed | other.proposed
        return both if fits else self


class Session:
    """The association that one thread shares among its calls; one at a time, so it never waits for its own slot.

    Parameters
    ----------
    caller : Caller
        Opens the associations.
    foresee : callable
        What the calls of this session will need beside the first one: proposed at once, so that they find it.
    """

    def __init__(self, caller: Caller, foresee: Callable[[], Need]) -> None:
        self._caller, self._foresee = caller, foresee
        self._foreseen: Need | None = None
        self._takes_all = True
        self._stack = ExitStack()
        self._line: OpenAssociation | None = None
        self._proposed: frozenset[tuple[str, str, bool]] = frozenset()
        self._used_at = 0.0

    def run(self, need: Need, work: Callable[[OpenAssociation], T]) -> T:
        """Do `work` on the shared association; once more on a new one where the shared one was found dead."""
        line, reused = self._line_for(need)
        try:
            return self._call(line, need, work)
        except AssociationLost:
            if not reused or line.watch.answered or line.watch.error is not None:
                raise
        line, _ = self._line_for(need)
        return self._call(line, need, work)

    def close(self) -> None:
        """Release the association, if there is one."""
        line, self._line = self._line, None
        if line is not None:
            line.watch.start(self._caller.config.acse_timeout_s + 1)
        self._stack.close()

    def _call(self, line: OpenAssociation, need: Need, work: Callable[[OpenAssociation], T]) -> T:
        self._line = None
        with self._stack.pop_all() as stack:  # aborts the association where `work` raises
            line.watch.start(self._caller.config.dimse_timeout_s, need.max_bytes)
            answer = work(line)
            line.watch.stop()
            self._stack, self._line, self._used_at = stack.pop_all(), line, time.monotonic()
        return answer

    def _line_for(self, need: Need) -> tuple[OpenAssociation, bool]:
        """An association that serves the need, and whether it was used before."""
        if self._line is not None and self._alive(self._line) and self._serves(self._line, need):
            return self._line, True
        if self._foreseen is None:
            self._foreseen = self._foresee()
        wider = need.with_more(self._foreseen) if self._takes_all else need
        line = self._open(wider)
        if wider is not need and not self._serves(line, need):
            self._takes_all = False  # a PACS that takes one service an association, or not this one
            line = self._open(need)
        return line, False

    def _open(self, need: Need) -> OpenAssociation:
        self.close()
        line = self._stack.enter_context(
            self._caller.associate(need.contexts, scp_roles=need.scp_roles, max_bytes=need.max_bytes)
        )
        self._line, self._proposed = line, need.proposed
        return line

    def _serves(self, line: OpenAssociation, need: Need) -> bool:
        return need.proposed <= self._proposed and all(map(line.accepted, need.sop_classes))

    def _alive(self, line: OpenAssociation) -> bool:
        silent_s = time.monotonic() - self._used_at
        return line.assoc.is_established and not line.spent and silent_s < self._caller.config.dimse_timeout_s


class Sessions:
    """The sessions of an adapter, one a thread at most."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._local = threading.local()

    @contextmanager
    def connected(self, foresee: Callable[[], Need]) -> Iterator[None]:
        """Share one association among the calls of this thread; a block within a block shares the outer one's."""
        if self._current() is not None:
            yield
            return
        session = self._local.session = Session(self._caller, foresee)
        try:
            yield
        finally:
            self._local.session = None
            session.close()

    def run(self, need: Need, work: Callable[[OpenAssociation], T]) -> T:
        """Do `work` on this thread's shared association, or on one of its own."""
        session = self._current()
        if session is not None:
            return session.run(need, work)
        with self._caller.associate(need.contexts, scp_roles=need.scp_roles, max_bytes=need.max_bytes) as line:
            return work(line)

    def release(self) -> None:
        """Before an association of another kind: it may need the slot that the shared one holds."""
        session = self._current()
        if session is not None:
            session.close()

    def _current(self) -> Session | None:
        session: Session | None = getattr(self._local, "session", None)
        return session

"""Associations that we open: negotiated, watched, closed, and every outcome of pynetdicom translated."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_role

from gtr_batch.config import PacsConfig
from gtr_batch.errors import (
    AssociationLost,
    AssociationRefused,
    ConfigError,
    GtrError,
    PacsBusy,
    PacsUnreachable,
    PermanentError,
)
from gtr_batch.pacs.tls import client_context, handshake_error
from gtr_batch.pacs.watch import Watch, abort

# Query identifiers hold names and PatientIDs: pynetdicom must never write them, not even at debug level.
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.LOG_HANDLER_LEVEL = "none"
_config.STORE_SEND_CHUNKED_DATASET = True  # a file that is given by its path is sent as it is
logging.getLogger("pynetdicom").setLevel(logging.WARNING)

Handlers = Sequence[tuple[Any, ...]]

# (source, diagnostic) of a rejection (PS3.8, 9.3.4), and the setting that mends it.
_REJECTED = {
    (1, 2): ("application context name not supported", "this is no DICOM PACS of our time"),
    (1, 3): ("calling AE title not recognised", "register our AE title in the PACS, or mend pacs.calling_ae_title"),
    (1, 7): ("called AE title not recognised", "mend pacs.{setting}"),
}

_shared: dict[tuple[str, int, str], threading.BoundedSemaphore] = {}
_shared_lock = threading.Lock()


class OpenAssociation:
    """An established association with its watch; says in our errors what became of it."""

    def __init__(self, assoc: Association, watch: Watch, caller: Caller) -> None:
        self.assoc = assoc
        self.watch = watch
        self.caller = caller
        self.peer = caller.peer
        self.spent = False  # an answer ended in something else than Success: more of it may follow
        self.listed: dict[tuple[str, str], frozenset[str]] = {}  # instances by study and series, as C-FIND told last

    def accepted(self, sop_class: str, syntax: str | None = None) -> bool:
        """Whether the PACS accepted a presentation context for a SOP class (and a transfer syntax)."""
        return any(
            cx.abstract_syntax == sop_class and (syntax is None or syntax in cx.transfer_syntax)
            for cx in self.assoc.accepted_contexts
        )

    def require(self, sop_class: str, service: str, mend: str) -> None:
        """Raise `ConfigError` where the PACS refused a service that we cannot do without."""
        if not self.accepted(sop_class):
            raise ConfigError(f"{self.peer} offers no {service} (presentation context refused); {mend}")

    def lost(self, tried: str) -> GtrError:
        """The error for an answer that never came."""
        if self.watch.error is not None:
            kind = type(self.watch.error)
            return kind(f"{tried} with {self.peer}: {self.watch.error}")
        return AssociationLost(
            f"{tried} with {self.peer}: association aborted or cut before the answer; tried again later"
        )

    def status(self, answer: Dataset, tried: str) -> int:
        """The status of an answer, or an error where the association ended instead."""
        if "Status" not in answer:
            raise self.lost(tried)
        return int(answer.Status)


class Caller:
    """Opens associations to the PACS, never more at once than `pacs.associations` in this process.

    Parameters
    ----------
    config : PacsConfig
    to_store : bool
        Calls the PACS by ``store_ae_title``, where there is one. The slots are the same: who holds an association under
        the one title releases it before it asks for one under the other.
    """

    def __init__(self, config: PacsConfig, *, to_store: bool = False) -> None:
        self.config = config
        self.setting = "store_ae_title" if to_store and config.store_ae_title else "called_ae_title"
        self.called: str = getattr(config, self.setting)
        self.peer = f"AE {self.called!r} at {config.host}:{config.port}"
        self.uid_lists = True  # the PACS is thought to know list of UID matching until it refuses one
        key = (config.host, config.port, config.called_ae_title)
        with _shared_lock:
            self._slots = _shared.setdefault(key, threading.BoundedSemaphore(max(1, config.associations)))

    @contextmanager
    def associate(
        self,
        contexts: Sequence[PresentationContext],
        *,
        scp_roles: Sequence[str] = (),
        handlers: Handlers = (),
        max_bytes: int = 0,
        idle_s: float | None = None,
    ) -> Iterator[OpenAssociation]:
        """Open an association; released at the end of the block, aborted where the block raises.

        Parameters
        ----------
        contexts : sequence of PresentationContext
            What we propose.
        scp_roles : sequence of str
            SOP classes for which we take the SCP role (C-GET).
        handlers : sequence of tuple
            pynetdicom event handlers.
        max_bytes : int
            Most bytes to receive; 0 for no limit.
        idle_s : float, optional
            Longest silence; default ``pacs.dimse_timeout_s``.

        Raises
        ------
        PacsUnreachable
            No TCP connection, or no answer to the association request.
        AssociationRefused
            Rejected for now.
        ConfigError
            Rejected for good: names the setting to mend.
        AssociationLost
            Aborted or cut while the block ran.
        """
        with self._slots:
            watch = Watch(self.config.acse_timeout_s + 1, self.config.association_limit_s, max_bytes)
            watch.start()
            try:
                assoc = self._request(contexts, scp_roles, [*watch.handlers, *handlers], watch)
                watch.start(self.config.dimse_timeout_s if idle_s is None else idle_s)
                yield from self._use(OpenAssociation(assoc, watch, self))
            finally:
                watch.stop()

    def _use(self, line: OpenAssociation) -> Iterator[OpenAssociation]:
        try:
            yield line
        except RuntimeError as err:  # pynetdicom's word for "no longer established" when a request is sent
            if line.assoc.is_established:
                raise
            raise line.lost("request") from err
        except BaseException:
            abort(line.assoc)
            raise
        line.assoc.release()

    def _request(
        self, contexts: Sequence[PresentationContext], scp_roles: Sequence[str], handlers: Handlers, watch: Watch
    ) -> Association:
        config = self.config
        ae = AE(ae_title=config.calling_ae_title)
        ae.connection_timeout = config.connect_timeout_s
        ae.acse_timeout = config.acse_timeout_s
        # The watch judges silence by bytes; a DIMSE timer would also cut a large instance on a slow line.
        ae.dimse_timeout = ae.network_timeout = config.association_limit_s
        tls = client_context(config)
        try:
            assoc = ae.associate(
                config.host,
                config.port,
                contexts=list(contexts),
                ae_title=self.called,
                max_pdu=config.max_pdu,
                ext_neg=[build_role(sop_class, scp_role=True) for sop_class in scp_roles],
                evt_handlers=list(handlers),
                tls_args=(tls, config.host) if tls else None,
            )
        except OSError as err:
            raise PacsUnreachable(f"association with {self.peer}: {err.strerror or err}; tried again later") from err
        if assoc.is_established:
            return assoc
        if tls is not None and tls.failed is not None and (not watch.opened or isinstance(tls.failed, ssl.SSLError)):
            raise handshake_error(f"association with {self.peer}", tls.failed)
        raise self._not_established(assoc, watch)

    def _not_established(self, assoc: Association, watch: Watch) -> GtrError:
        tried = f"association of AE {self.config.calling_ae_title!r} with {self.peer}"
        if assoc.is_rejected:
            answer = assoc.acceptor.primitive
            source, diagnostic = answer.result_source, answer.diagnostic
            reason, mend = _REJECTED.get((source, diagnostic), (answer.reason_str, "ask the administrator of the PACS"))
            # Source 3 is congestion or a local limit: transient by nature, whatever the PACS says of itself.
            if answer.result == 2 or source == 3:
                return AssociationRefused(f"{tried} rejected for now: {answer.reason_str}; tried again later")
            return ConfigError(f"{tried} rejected for good: {reason}; {mend.format(setting=self.setting)}")
        if not watch.opened:
            return PacsUnreachable(
                f"{tried}: no TCP connection within {self.config.connect_timeout_s:g} s; tried again later"
            )
        if assoc.rejected_contexts:
            return ConfigError(f"{tried}: the PACS refused every presentation context; check what our AE may do there")
        if watch.error is not None or time.monotonic() - watch._last >= self.config.acse_timeout_s - 0.5:
            return PacsUnreachable(f"{tried}: no answer within {self.config.acse_timeout_s:g} s; tried again later")
        return AssociationLost(
            f"{tried}: connection closed before an answer; is our host registered there? Tried again later"
        )


def refusal(tried: str, peer: str, status: int) -> GtrError:
    """The error for a failure status of C-FIND, C-GET or C-MOVE (PS3.4, C.4)."""
    said = f"{tried} with {peer}: status 0x{status:04X}"
    if status == 0xA801:
        return ConfigError(
            f"{said} (move destination unknown or not reached); register pacs.move_ae_title with our host and "
            "pacs.move_port there; it must call us as pacs.called_ae_title or one of pacs.accepted_ae_titles"
        )
    if status in (0x0122, 0x0124, 0x0211) or status & 0xFF00 == 0xA900:
        return PermanentError(f"{said} (not supported, not allowed, or identifier not understood); not retried")
    return PacsBusy(f"{said} (out of resources or unable to process); tried again later")

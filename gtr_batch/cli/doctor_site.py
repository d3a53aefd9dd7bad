"""Checks of `gtr doctor` of what lies around us: PACS, network, certificates, EHR, audit repository, Airflow."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from gtr_batch.cli.finding import Finding
from gtr_batch.loopback import is_loopback

if TYPE_CHECKING:
    from gtr_batch.config import Config
    from gtr_batch.night.site import Site
    from gtr_batch.ports import ResultReceiver

EXPIRES_SOON = timedelta(days=30)
LOADED_WITHIN = timedelta(days=2)  # EHR extracts come every day
POOLS = {"pacs", "gpu"}
NEEDED_DAGS = ("ehr_refresh", "nightly_staging", "housekeeping")
AIRFLOW_TIMEOUT_S = 180
#: How a setting is called that names a file of certificates.
CERTIFICATE_SETTINGS = ("tls_ca", "tls_cert", "ca_file", "certificate")


def services(site: Site) -> Finding:
    """Whether the PACS grants what a night needs: retrieval, and storing of each kind of object."""
    refused = site.archive.refused_services(pdf=site.settings.report.pdf)
    if refused:
        return Finding("PACS, services", "red", f"refused: {', '.join(refused)}", MEND["PACS, services"])
    mode, web = site.config.pacs.retrieve_mode.upper(), site.config.dicomweb
    if not (web.retrieve or web.deliver):
        return Finding("PACS, services", "ok", f"retrieval (C-{mode}) and C-STORE are granted")
    ways = "WADO-RS" if web.retrieve else f"C-{mode}", "STOW-RS" if web.deliver else "C-STORE"
    said = f"retrieval by {ways[0]}, storing by {ways[1]}; what goes by DICOMweb shows itself with the first series"
    return Finding("PACS, services", "ok", said)


def dicomweb(site: Site) -> Finding:
    """Whether the DICOMweb service answers, and with what; nothing is fetched or stored."""
    from gtr_batch.dicomweb import Dicomweb

    name, config = "DICOMweb", site.config.dicomweb
    if not config.url:
        return Finding(name, "ok", "none is named (dicomweb.url): the PACS is talked to by DIMSE")
    came = Dicomweb(config, site.config.pacs).probe()
    used = [what for what, on in (("retrieve", config.retrieve), ("deliver", config.deliver)) if on]
    said = f"QIDO-RS of one study was answered with {came}; " + (
        f"used to {' and '.join(used)}" if used else "not used"
    )
    if came > 1:
        return Finding(name, "warn", f"{said}; the service takes no notice of a limit", MEND[name])
    return Finding(name, "ok" if used else "warn", said, "" if used else MEND[name])


def our_port(site: Site) -> Finding:
    """Whether we can listen where the PACS connects to us."""
    pacs, name = site.config.pacs, "our port"
    if not site.config.uses_dimse:
        return Finding(name, "ok", "none is needed: the PACS is talked to by DICOMweb")
    ports = {pacs.commitment_port} | ({pacs.move_port} if pacs.retrieve_mode == "move" else set())
    fixed = sorted(ports - {0})
    if pacs.retrieve_mode == "move" and not pacs.move_port:
        return Finding(name, "warn", "pacs.move_port is 0: any free port, which a PACS cannot be told", MEND[name])
    with ExitStack() as open_now:
        for port in fixed:
            try:
                listening = open_now.enter_context(socket.socket())
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listening.bind((pacs.move_host, port))
            except OSError as err:
                taken = err.errno == errno.EADDRINUSE  # by a night that runs, or by a stranger
                said = f"{pacs.move_host}:{port}: {err.strerror or type(err).__name__}"
                return Finding(name, "warn" if taken else "red", said, MEND[name])
    where = ", ".join(f"{pacs.move_host}:{port}" for port in fixed)
    return Finding(name, "ok", f"we can listen at {where}" if fixed else "none is needed: the PACS connects to nobody")


def certificates(site: Site) -> Finding:
    """How long our certificates, and the authorities that we believe, are valid; and whether the PACS is plain TCP."""
    from cryptography import x509

    config, name = site.config, "certificates"
    now, ends = datetime.now(UTC), {}
    for setting, path in _certificate_files(config).items():
        try:
            found = x509.load_pem_x509_certificates(Path(path).read_bytes())
        except (OSError, ValueError) as err:
            return Finding(name, "red", f"{setting} cannot be read: {type(err).__name__}", MEND[name])
        ends[setting] = min(one.not_valid_after_utc for one in found)
    state, said = "ok", "none is set"
    if ends:
        first = min(ends, key=lambda setting: ends[setting])
        state = "red" if ends[first] <= now else "warn" if ends[first] <= now + EXPIRES_SOON else "ok"
        said = f"the first to expire is {first}, on {ends[first]:%Y-%m-%d}"
    if config.uses_dimse and not config.pacs.tls_ca:
        said += "; associations with the PACS are plain TCP"
        state = "warn" if state == "ok" and not is_loopback(config.pacs.host) else state
    return Finding(name, state, said, "" if state == "ok" else MEND[name])


def _certificate_files(config: Config) -> dict[str, str | Path]:
    """Every file of certificates that a setting names, by the setting."""
    return {
        f"{section}.{name}": path
        for section, settings in attrs.asdict(config, recurse=False).items()
        for name in CERTIFICATE_SETTINGS
        if (path := getattr(settings, name, None))
    }


def ehr(site: Site) -> Finding:
    """Whether the EHR extracts come."""
    name, loaded = "EHR extracts", site.clinical.loaded_at()
    if loaded is None:
        return Finding(name, "warn", "none was loaded yet: nobody is eligible", MEND[name])
    late = site.clock.now() - loaded > LOADED_WITHIN
    said = f"loaded last on {loaded.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return Finding(name, "warn" if late else "ok", said, MEND[name] if late else "")


def audit_repository(site: Site) -> Finding:
    """Whether the audit repository takes a connection; nothing is sent."""
    from gtr_batch.syslog import SyslogReceiver

    name, config = "audit repository", site.config.audit_trail
    if not config.syslog:
        return Finding(name, "ok", "none is named (audit_trail.syslog): the audit trail stays in Postgres")
    SyslogReceiver(config).deliver([])
    return Finding(name, "ok", f"{config.syslog} takes connections")


def ris(site: Site) -> Finding:
    """Whether the RIS takes a connection, and what waits for it; nothing is sent."""
    from gtr_batch.ris import RisReceiver

    name, config = "RIS", site.config.ris
    if not config.host:
        return Finding(name, "ok", "none is named (ris.host): results are in the PACS and on the worklist alone")
    receiver = RisReceiver(config, site.config.night.timezone)
    return _receiver(name, receiver, site, open_to_all=not config.tls_ca and not is_loopback(config.host))


def merged_patients(site: Site) -> Finding:
    """Whether anybody listens for what the RIS says of merged patients."""
    name, config = "merged patients", site.config.ris
    if not config.listen_port:
        return Finding(name, "ok", "nobody is to listen (ris.listen_port): merges are told by `gtr case rekey`")
    try:
        socket.create_connection((config.listen_host, config.listen_port), timeout=config.connect_timeout_s).close()
    except OSError as err:
        return Finding(name, "red", f"nobody listens at ris.listen_port ({type(err).__name__})", MEND[name])
    plain = not config.tls_ca and not is_loopback(config.listen_host)
    heard = f"somebody listens at port {config.listen_port}"
    return Finding(name, "warn" if plain else "ok", heard + (", without TLS" if plain else ""), MEND[name])


def fhir(site: Site) -> Finding:
    """Whether the FHIR server takes a connection, and what waits for it; nothing is sent."""
    from gtr_batch.fhir import FhirServer

    name, config = "FHIR server", site.config.fhir
    if not config.url:
        return Finding(name, "ok", "none is named (fhir.url)")
    return _receiver(name, FhirServer(config, site.config.night.timezone), site)


def _receiver(name: str, receiver: ResultReceiver, site: Site, *, open_to_all: bool = False) -> Finding:
    """Whether a system that is told of results takes a connection (else the error says so), and what waits for it."""
    from gtr_batch.wiring import open_messages

    receiver.connect()
    receiver.close()
    with open_messages(site.config) as messages:
        found = messages.waiting(receiver.channel)
    if found.dead:
        return Finding(name, "warn", f"{found.dead} messages are dead letters, {found.waiting} wait", MEND[name])
    if open_to_all:
        return Finding(name, "warn", f"takes connections, without TLS; {found.waiting} messages wait", MEND[name])
    return Finding(name, "ok", f"takes connections; {found.waiting} messages wait")


def words_to_the_pacs(site: Site) -> Finding:
    """Whether readers' words reach the PACS; each is tried again every hour until it does."""
    from gtr_batch.wiring import waiting_words

    name = "readers' words"
    if not site.config.sends_words:
        return Finding(name, "ok", "not sent to the PACS")
    found = waiting_words(site.config)
    if not found.words:
        return Finding(name, "ok", "the PACS has taken all that were sent")
    said = f"{found.words} wait, tried up to {found.tries} times, the last time: {found.trouble}"
    return Finding(name, "warn", said, MEND[name])


def airflow(site: Site) -> Finding:
    """Whether Airflow has our pools, and knows our DAGs and lets them run."""
    name = "Airflow"
    if "AIRFLOW_HOME" not in os.environ:
        return Finding(name, "warn", "not looked at: AIRFLOW_HOME is not set in this shell", MEND[name])
    try:
        with ThreadPoolExecutor() as both:  # each imports Airflow for some seconds
            listed_pools, listed_dags = both.map(_asked_of_airflow, (("pools", "list"), ("dags", "list")))
        pools = {one["pool"] for one in listed_pools}
        dags = {one["dag_id"]: str(one["is_paused"]) for one in listed_dags}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as err:
        return Finding(name, "red", f"it cannot be asked: {type(err).__name__}", MEND[name])
    trouble = [f"no pool {one}" for one in sorted(POOLS - pools)]
    trouble += [f"{dag} is not known" for dag in NEEDED_DAGS if dag not in dags]
    trouble += [f"{dag} is paused" for dag in NEEDED_DAGS if dags.get(dag) == "True"]
    if trouble:
        return Finding(name, "red", ", ".join(trouble), MEND[name])
    return Finding(name, "ok", f"pools {' and '.join(sorted(POOLS))}; {', '.join(NEEDED_DAGS)} run")


def _asked_of_airflow(command: Sequence[str]) -> list[dict[str, Any]]:
    """What Airflow's command line answers; its log lines come before."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *command, "--output", "json"],
        capture_output=True,
        text=True,
        timeout=AIRFLOW_TIMEOUT_S,
        check=True,
    )
    begin = next(n for n, line in enumerate(done.stdout.splitlines()) if line.startswith("[{") or line.strip() == "[]")
    answer: list[dict[str, Any]] = json.loads("\n".join(done.stdout.splitlines()[begin:]))
    return answer


CHECKS: list[tuple[str, Callable[[Site], Finding]]] = [
    ("PACS, services", services),
    ("DICOMweb", dicomweb),
    ("our port", our_port),
    ("certificates", certificates),
    ("EHR extracts", ehr),
    ("audit repository", audit_repository),
    ("RIS", ris),
    ("merged patients", merged_patients),
    ("FHIR server", fhir),
    ("readers' words", words_to_the_pacs),
    ("Airflow", airflow),
]
MEND = {
    "PACS, services": "let the PACS's administrator allow these for our AE title (docs/dicom-conformance.md)",
    "DICOMweb": "check dicomweb.*, certificate and firewall (docs/dicomweb.md)",
    "our port": "set pacs.move_host to an address of ours, and pacs.move_port and commitment_port to fixed, free ports",
    "certificates": "set pacs.tls_* (docs/dicom-conformance.md), or renew the certificate; `gtr pacs echo` tries it",
    "EHR extracts": "put the extracts into ehr.folder and run `gtr ehr load`, or unpause ehr_refresh",
    "audit repository": "check audit_trail.syslog, its certificate and the firewall; what was not sent waits",
    "merged patients": "start the service `gtr ris listen`; set ris.tls_ca, ris.tls_cert and ris.tls_key (docs/ris.md)",
    "FHIR server": "check fhir.*, certificate and firewall; dead letters: `gtr ris list` (docs/ris.md)",
    "RIS": "check ris.*, certificate and firewall; dead letters: `gtr ris list`, `gtr ris resend` (docs/ris.md)",
    "readers' words": "let the PACS take SR from us; the log of `gtr ris send` and of the night says what it answered",
    "Airflow": "run `airflow pools import plugins/gtr_airflow/pools.json`, start the dag-processor, unpause the DAGs",
}

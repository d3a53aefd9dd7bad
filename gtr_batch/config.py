"""Settings: one TOML file and the environment, read once into frozen classes, one per section.

``GTR_CONFIG`` names the TOML file. Any setting can be given in the environment as ``GTR_<SECTION>__<SETTING>``
(``GTR_PACS__PORT=11112``), which wins. Unknown keys are errors. There are no default passwords.
What a model was trained with is not here: it lies in the artefact's manifest.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
from attrs import field, frozen

from gtr_batch.errors import ConfigError
from gtr_batch.loopback import is_loopback

_PAGE = "docs/operations.md, Settings"
# Document titles of key objects, PS3.16, CID 7010: Of Interest, For Referring Provider, For Surgery, For Therapy,
# Best In Set, For Report Attachment, For Diagnosis, For Tumor Board
KEY_OBJECT_TITLES = ("113000", "113002", "113003", "113006", "113013", "113020", "128195", "128203")
REJECTING_TITLES = ("113001", "113010", "113037", "113038", "113039")  # of CID 7010: these images are not to be used


@frozen
class PacsConfig:
    """The PACS and ourselves as DICOM application entities. Times in seconds."""

    host: str = "127.0.0.1"
    port: int = 11112
    called_ae_title: str = "PACS"
    store_ae_title: str = ""  # the PACS's AE title for C-STORE and storage commitment; "": called_ae_title
    calling_ae_title: str = "GTRBATCH"
    accepted_ae_titles: tuple[str, ...] = field(
        default=(), converter=tuple
    )  # further AE titles by which this PACS calls us (C-STORE of a C-MOVE, N-EVENT-REPORT)
    retrieve_mode: str = "get"  # "get" (C-GET) | "move" (C-MOVE to our own Storage SCP)
    move_host: str = "127.0.0.1"  # interface our Storage SCP binds to
    move_port: int = 0  # 0: any free port (only where the PACS can be told); a PACS normally needs a fixed one
    move_ae_title: str = "GTRBATCH"
    commitment: str = "auto"  # "auto" (ask; read back where not offered) | "off" (read back only)
    commitment_timeout_s: float = 60.0
    commitment_port: int = 0  # port we listen on for N-EVENT-REPORT on another association; 0: none
    connect_timeout_s: float = 10.0
    acse_timeout_s: float = 15.0
    dimse_timeout_s: float = 60.0
    network_timeout_s: float = 60.0
    max_pdu: int = 131072
    answer_cap: int = 0  # answers after which this PACS stops (0: learnt from its status); triggers bisection
    associations: int = 2  # at once
    retrieves: int = 1  # series that one task fetches at once, each over an association of its own; <= associations
    max_instances: int = 5000  # per series
    max_bytes: int = 8 * 1024**3  # per association
    association_limit_s: float = 3600.0  # longest life of one association
    peer_addresses: tuple[str, ...] = field(default=(), converter=tuple)  # who may connect to our ports; (): `host`
    tls_ca: str = ""  # PEM: the authorities whose certificates we believe; "": no TLS, in either direction
    tls_cert: str = ""  # PEM: our certificate, with the chain that its authority needs
    tls_key: str = ""  # PEM: its key, without a passphrase
    tls_crl: str = ""  # PEM: revocation list of these authorities, if the site keeps one

    def __attrs_post_init__(self) -> None:
        if self.retrieve_mode not in ("get", "move"):
            raise ConfigError(f"pacs.retrieve_mode is {self.retrieve_mode!r}; 'get' or 'move'")
        if not 1 <= self.retrieves <= max(1, self.associations):
            raise ConfigError(
                f"pacs.retrieves is {self.retrieves}; at least 1, and at most pacs.associations, which is "
                f"{self.associations}"
            )
        if self.commitment not in ("auto", "off"):
            raise ConfigError(f"pacs.commitment is {self.commitment!r}; 'auto' or 'off'")
        tls = {"tls_ca": self.tls_ca, "tls_cert": self.tls_cert, "tls_key": self.tls_key}
        absent = [f"pacs.{name}" for name, path in tls.items() if not path]
        if (self.tls_crl or any(tls.values())) and absent:
            raise ConfigError(f"TLS needs pacs.tls_ca, pacs.tls_cert and pacs.tls_key; not set: {', '.join(absent)}")

    @property
    def pacs_ae_titles(self) -> tuple[str, ...]:
        """Every AE title by which this PACS is called, or calls us."""
        given = (self.called_ae_title, self.store_ae_title, *self.accepted_ae_titles)
        return tuple(dict.fromkeys(title for title in given if title))


@frozen
class DicomwebConfig:
    """The PACS by DICOMweb (PS3.18), for one direction or both; what is not turned on here goes by DIMSE (`pacs`).

    How large a series may be is said by ``pacs.max_instances`` and ``pacs.max_bytes``.
    """

    url: str = ""  # of the service, below which /studies lies; empty: none. https, unless on this machine
    retrieve: bool = False  # ask and fetch by QIDO-RS and WADO-RS
    deliver: bool = False  # send by STOW-RS; what was sent is read back, since DICOMweb has no storage commitment
    token: str = field(default="", repr=False)  # sent as bearer token
    user: str = ""  # HTTP Basic, where there is no token
    password: str = field(default="", repr=False)
    ca_file: Path | None = field(default=None, converter=attrs.converters.optional(Path))  # none: the system's
    certificate: Path | None = field(default=None, converter=attrs.converters.optional(Path))  # ours, where it asks
    key: Path | None = field(default=None, converter=attrs.converters.optional(Path))
    page: int = 500  # answers asked for at once; the server may give fewer
    connect_timeout_s: float = 10.0
    timeout_s: float = 60.0  # without a byte
    request_limit_s: float = 3600.0  # longest life of one request

    def __attrs_post_init__(self) -> None:
        url = urlsplit(self.url)
        local = url.scheme == "http" and is_loopback(url.hostname or "")
        if self.url and not ((url.scheme == "https" or local) and url.hostname):
            raise ConfigError("dicomweb.url must begin with https://, unless it is on this machine")
        if url.query or url.fragment or "@" in url.netloc:
            raise ConfigError(
                "dicomweb.url holds a user, a query or a fragment; user and password are settings of their own"
            )
        if (self.retrieve or self.deliver) and not self.url:
            raise ConfigError("dicomweb.retrieve and dicomweb.deliver need dicomweb.url")
        if self.token and (self.user or self.password):
            raise ConfigError("dicomweb.token and dicomweb.user are both set: one of the two")
        if bool(self.user) != bool(self.password):
            raise ConfigError("dicomweb.user and dicomweb.password go together")
        if self.key and not self.certificate:
            raise ConfigError("dicomweb.key is set: dicomweb.certificate too")
        if not 1 <= self.page <= 100_000:
            raise ConfigError(f"dicomweb.page is {self.page}; from 1 to 100000")
        if min(self.connect_timeout_s, self.timeout_s, self.request_limit_s) <= 0:
            raise ConfigError("the times of [dicomweb] are above 0")


@frozen
class DatabaseConfig:
    """PostgreSQL >= 15. One DSN (libpq URL or keywords) a role that the service logs in as; see sql/README.md."""

    dsn: str = field(default="", repr=False)  # role app: rows
    governor_dsn: str = field(default="", repr=False)  # role governor: decisions; empty: dsn, which then must hold it
    owner_dsn: str = field(default="", repr=False)  # role owner: `gtr migrate` only
    console_dsn: str = field(default="", repr=False)  # role console: the pages of `plugins/gtr_console` only
    connect_timeout_s: int = 10
    statement_timeout_s: int = 60


@frozen
class FilesConfig:
    """Where a night's files lie; on shared storage where several workers share a night."""

    root: Path = field(default=Path("/var/lib/gtr"), converter=Path)
    retention_days: int = 14  # pixels older than this many nights are deleted by `housekeeping`
    min_free_gb: float = 5.0


@frozen
class EhrConfig:
    """EHR extracts: a folder with one CSV a table (see sql/README.md)."""

    folder: Path = field(default=Path("/var/lib/gtr/ehr"), converter=Path)


@frozen
class IntakeConfig:
    """Which studies and series become cases."""

    window_start: time = time(0, 0)  # the night window begins on the night's date at this wall clock time
    window_hours: float = 24.0
    refuse_without_ehr: bool = (
        False  # a study of a patient unknown to the EHR: a refusal (true) or only counted (false)
    )
    probes: int = 3  # instances fetched per candidate series for header and HU evidence


@frozen
class ValidateConfig:
    """Limits of the header and pixel suites, mm and HU."""

    min_thickness_mm: float = 1.0
    max_thickness_mm: float = 5.0
    matrix: int = 512
    min_slices: int = 20
    min_coverage_mm: float = 100.0
    max_tilt_degrees: float = 0.5
    gap_tolerance: float = 0.1  # share of the median spacing
    kernels: tuple[str, ...] = field(
        default=(), converter=tuple
    )  # extra soft-tissue kernels of this site (regular expressions)


@frozen
class PreprocessConfig:
    """What marks a key slice."""

    key_object_titles: tuple[str, ...] = field(
        default=KEY_OBJECT_TITLES, converter=tuple
    )  # document titles of CID 7010, by code value of DCM, or scheme:value of another coding scheme

    def __attrs_post_init__(self) -> None:
        for title in self.key_object_titles:
            if not re.fullmatch(r"\d{6}|[^:\s]+:\S+", title) or title in REJECTING_TITLES:
                raise ConfigError(
                    f"preprocess.key_object_titles holds {title!r}; the code value of a document title of CID 7010 "
                    "that does not reject images, as 113000 (Of Interest), or scheme:value of another coding scheme"
                )


@frozen
class StageConfig:
    """Where the artefact lies and on what it runs."""

    artefact: Path = field(default=Path("/var/lib/gtr/models/champion"), converter=Path)
    device: str = "auto"  # "auto" | "cpu" | "cuda"
    batch_cases: int = 16
    threads: int = 0  # CPU threads, 0: torch's choice
    abstain_level: float = 0.01  # p at which a case gets no stage: the share of good cases that each rule may cost

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.abstain_level <= 0.5:
            raise ConfigError(f"stage.abstain_level is {self.abstain_level:g}; from 0 (every case is answered) to 0.5")


@frozen
class ReportConfig:
    """What is written for the PACS."""

    institution: str = ""
    manufacturer: str = "gtr-batch"
    series_number_base: int = 9000
    refusal_sr: bool = False  # write a refusal back as an SR
    parametric_map: bool = True
    secondary_capture: bool = True
    key_objects: bool = True
    pdf: bool = False  # the case's page as an encapsulated PDF, for a PACS whose viewers show no SR
    reject_withdrawn: bool = False  # reject a withdrawn model's reports in the PACS, beside the notice (IHE IOCM)
    reader_word_sr: bool = False  # each reader's word goes to the PACS too, as an SR that refers to ours
    reader_word_why: bool = False  # with the reason that the reader typed, which may name the patient whose study it is
    primary: str = "network"  # "network" | "nomogram", where the model has one: whose stage and probabilities count

    def __attrs_post_init__(self) -> None:
        if self.primary not in ("network", "nomogram"):
            raise ConfigError(f"report.primary is {self.primary!r}; 'network' or 'nomogram'")


@frozen
class NightConfig:
    """The night as a whole."""

    shard_size: int = 16
    failure_tolerance: int = 0  # failed cases that leave the night green
    settle_minutes: float = 10.0  # a study is taken when its counts stood still so long; 0: as it is found
    look_back_days: int = 7  # earlier days whose late, growing, mended and unfinished studies a night takes too
    ready_by: time = time(6, 30)  # the worklist must be ready by this time of the following morning
    timezone: str = "UTC"
    schedule: str = "30 0 * * *"  # cron, hospital time; after the window's end, so that its last studies are in
    ehr_schedule: str = "0 22 * * *"  # cron: the EHR extracts, before the night
    housekeeping_schedule: str = "0 12 * * *"  # cron: by day, when the PACS is not busy with the night
    retries: int = 2  # per task, for errors that may work later
    retry_delay_s: float = 300.0
    task_memory_gb: float = 16.0  # that a task of the night may take; 0: no limit. None is set where a GPU is used
    preload_libraries: bool = True  # imported once, by the process that Airflow forks tasks from

    def __attrs_post_init__(self) -> None:
        if self.task_memory_gb != 0 and self.task_memory_gb < 2:
            raise ConfigError(f"night.task_memory_gb is {self.task_memory_gb:g}; 0 for no limit, or 2 and more")
        for name, value in (("settle_minutes", self.settle_minutes), ("look_back_days", self.look_back_days)):
            if not 0 <= value <= 24 * 60:
                raise ConfigError(f"night.{name} is {value:g}; from 0 to {24 * 60}")


@frozen
class TrainingConfig:
    """How a candidate is made. The recipe's defaults are the paper's."""

    folder: Path = field(default=Path("/var/lib/gtr/training"), converter=Path)  # slice cache, checkpoints, reports
    models: Path = field(default=Path("/var/lib/gtr/models"), converter=Path)  # registered artefacts, by version
    schedule: str = "0 3 1 1,4,7,10 *"  # cron: quarterly
    on_drift: bool = False  # an alarm of the audit starts a retraining too; its candidate still waits for a person
    minimum_per_class: int = 20  # patients of each stage in train; fewer: cannot tell
    minimum_holdout_per_class: int = 5
    holdout_share: float = 0.2
    validation_share: float = 0.15
    days_before_surgery: int = 120  # a CT older than this says little of what was resected
    unreadable_share: float = 0.1  # of the cohort's series; above it the run stops
    backbone: str = "resnet152"
    start: str = "imagenet"  # "imagenet" | "random" | "champion"
    imagenet: Path | None = field(default=None, converter=lambda p: Path(p) if p else None)  # torchvision state dict
    epochs: int = 100
    batch: int = 32
    learning_rate: float = 1e-4
    patience: int = 10
    recipe: str = "paper"  # "paper" (whole slices) | "lessons" (first windows about the lesion, for small machines)
    seed: int = 0
    stopping_share: float = 0.5  # of the validation patients, who choose the epoch; the fits are of the others
    folds: int = 5  # networks trained on the other folds, for out-of-fold rad-scores; 0: none, unseen patients alone
    locator_series: int = 60  # series whose every slice is kept for the key-slice locator; 0: no locator
    tracking_uri: str = field(default="", repr=False)  # MLflow in its own Postgres database; empty: no tracking

    def __attrs_post_init__(self) -> None:
        if self.start not in ("imagenet", "random", "champion"):
            raise ConfigError(f"training.start is {self.start!r}; 'imagenet', 'random' or 'champion'")
        if self.recipe not in ("paper", "lessons"):
            raise ConfigError(f"training.recipe is {self.recipe!r}; 'paper' or 'lessons'")
        if not (0 < self.holdout_share < 0.5 and 0 < self.validation_share < 0.5):
            raise ConfigError("training.holdout_share and training.validation_share lie between 0 and 0.5")
        if not 0 < self.stopping_share < 1:
            raise ConfigError(f"training.stopping_share is {self.stopping_share}; it lies between 0 and 1")
        if self.folds != 0 and not 2 <= self.folds <= 20:
            raise ConfigError(f"training.folds is {self.folds}; 0, or 2 to 20")


@frozen
class GovernanceConfig:
    """When a candidate may become the champion. Margins are shares: 0.05 of accuracy is 5 points."""

    accuracy_margin: float = 0.05
    kappa_margin: float = 0.03  # quadratic weighted kappa
    ece_margin: float = 0.02
    slope_margin: float = 0.2  # how much further from 1 than the champion's
    t4_understaging_cap: float = 0.1  # share of T4 staged lower; above it only so far as the champion is
    t4_margin: float = 0.075  # how much more of T4 than the champion may be staged lower
    error_budget: float = 0.05  # chance that any candidate at a margin passes, all looks at the same patients together
    minimum_patients: int = 40  # of the sealed holdout; fewer: cannot tell
    assumed_discordance: float = 0.1  # share of pairs that differ, for the sample size that is stated
    subgroup_patients: int = 20  # smaller subgroups are listed, not judged
    shadow_nights: int = 0  # nights in shadow that the gate demands; 0: none
    shadow_cases: int = 0  # cases in shadow that the gate demands; 0: none
    approvers: tuple[str, ...] = field(default=(), converter=tuple)  # ids of the users of Airflow who may approve

    def __attrs_post_init__(self) -> None:
        if not 0 < self.error_budget <= 0.5:
            raise ConfigError(f"governance.error_budget is {self.error_budget:g}; a share above 0, of 0.5 at most")


@frozen
class AuditConfig:
    """The weekly monitors and the monthly audit.

    `share_*` split one budget of false alarms, `false_alarm_budget` in `horizon_months` over all monitors together; the
    shares sum to 1, and a share of 0 turns a monitor off.
    """

    folder: Path = field(default=Path("/var/lib/gtr/audit"), converter=Path)  # inputs and reports of every run
    weekly_schedule: str = "0 5 * * 1"  # cron: the week before
    monthly_schedule: str = "0 6 5 * *"  # cron: the month before
    horizon_months: int = 24
    false_alarm_budget: float = 0.05
    share_stage_shift: float = 0.3  # labelled: ordinal likelihood-ratio CUSUM of pathology against the probabilities
    share_headers: float = 0.15  # scanner, kVp, thickness, kernel, dose
    share_quality: float = 0.1  # image quality as validation measured it
    share_refusals: float = 0.1
    share_features: float = 0.15  # penultimate features
    share_output: float = 0.1  # mix of stages
    share_disagreement: float = 0.05  # slices that vote apart
    share_key_slice: float = 0.05  # where key slices come from
    odds_ratio: float = 2.0  # the shift of stages that stage_shift is tuned to
    tolerated_odds_ratio: float = 1.1  # of pathology against the probabilities: what gate and monitor both let pass
    minimum_labels: int = 20  # patients with pathology; fewer: cannot tell
    minimum_cases: int = 10  # a week for the unlabelled monitors; one with fewer is judged again with the next
    baseline_weeks: int = 8  # the first weeks, with which monitors without an artefact's reference compare
    label_wait_days: int = 120  # a patient not operated by then will hardly ever be
    stop_monitors: tuple[str, ...] = field(default=("stage_shift",), converter=tuple)  # whose alarms say stop
    pause_delivery: bool = False  # a stop alarm holds reports back until a person acknowledged it; staging goes on
    draws: int = 1000  # of each bootstrap
    seed: int = 20251125

    def __attrs_post_init__(self) -> None:
        shares = self.shares
        if any(s < 0 for s in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
            raise ConfigError(f"audit.share_* sum to {sum(shares.values()):g}; they split one budget and sum to 1")
        if not 0 < self.false_alarm_budget < 1:
            raise ConfigError(f"audit.false_alarm_budget is {self.false_alarm_budget}; a share between 0 and 1")
        if not 1 <= self.tolerated_odds_ratio < self.odds_ratio**0.5:
            raise ConfigError(
                f"audit.tolerated_odds_ratio is {self.tolerated_odds_ratio:g}, audit.odds_ratio {self.odds_ratio:g}: "
                "the first is 1 or more, and below the square root of the second, or the CUSUM rises without any shift"
            )
        unknown = sorted(set(self.stop_monitors) - set(shares))
        if unknown:
            raise ConfigError(f"audit.stop_monitors names {', '.join(unknown)}; known: {', '.join(shares)}")

    @property
    def shares(self) -> dict[str, float]:
        """Share of the false alarm budget by monitor."""
        names = [a.name for a in attrs.fields(AuditConfig) if a.name.startswith("share_")]
        return {name.removeprefix("share_"): getattr(self, name) for name in names}


@frozen
class AuditTrailConfig:
    """Where the audit trail goes: an audit repository that takes syslog over TLS (RFC 5425)."""

    syslog: str = ""  # host:port; empty: the trail stays in the database
    ca_file: Path | None = field(default=None, converter=attrs.converters.optional(Path))  # none: the system's
    certificate: Path | None = field(default=None, converter=attrs.converters.optional(Path))  # ours, where it asks
    key: Path | None = field(default=None, converter=attrs.converters.optional(Path))
    source: str = ""  # Audit Source ID; empty: gtr-batch@ and this machine's name
    name_patients: bool = False  # name the patient of a study by PatientID too; false: the Study Instance UID alone
    timeout_s: float = 30.0  # of a connection, and of each answer

    def __attrs_post_init__(self) -> None:
        host, colon, port = self.syslog.rpartition(":")
        if self.syslog and not (host and colon and port.isdigit() and 0 < int(port) < 65536):
            raise ConfigError(f"audit_trail.syslog is {self.syslog!r}; host:port, as audit.hospital.example:6514")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the receiver."""
        host, _, port = self.syslog.rpartition(":")
        return host.strip("[]"), int(port)


@frozen
class NotifyConfig:
    """Who is told by `gtr watch` when a night is red, late, stopped or did not begin."""

    smtp_host: str = ""  # empty: no email
    smtp_port: int = 587
    smtp_tls: str = "starttls"  # "starttls" | "tls" | "none" (a mail server on this machine only)
    smtp_user: str = ""
    smtp_password: str = field(default="", repr=False)
    smtp_from: str = ""
    smtp_to: tuple[str, ...] = field(default=(), converter=tuple)
    webhook_url: str = field(default="", repr=False)  # empty: no webhook; https, unless on this machine
    webhook_token: str = field(default="", repr=False)  # sent as bearer token
    ca_file: Path | None = field(default=None, converter=attrs.converters.optional(Path))  # none: the system's
    timeout_s: float = 10.0  # of a connection, and of each answer
    start_minutes: float = 30.0  # after which a night that was due and has not begun is told

    def __attrs_post_init__(self) -> None:
        if self.smtp_tls not in ("starttls", "tls", "none"):
            raise ConfigError(f"notify.smtp_tls is {self.smtp_tls!r}; 'starttls', 'tls' or 'none'")
        if self.smtp_host and not (self.smtp_from and self.smtp_to):
            raise ConfigError("notify.smtp_host is set: notify.smtp_from and notify.smtp_to say from whom and to whom")
        if self.smtp_host and self.smtp_tls == "none" and not is_loopback(self.smtp_host):
            raise ConfigError("notify.smtp_tls is 'none' and notify.smtp_host on another machine: 'starttls' or 'tls'")
        url = urlsplit(self.webhook_url)
        local = url.scheme == "http" and is_loopback(url.hostname or "")
        if self.webhook_url and not (url.scheme == "https" or local):
            raise ConfigError("notify.webhook_url must begin with https://, unless it is on this machine")


#: Who may do what in the console; each role's rights stand beside the routes (plugins/gtr_console/app.py).
CONSOLE_ROLES = ("operator", "radiologist", "auditor", "admin")
_VIEWER_FIELDS = {"study_uid", "series_uid", "sop_instance_uid"}


@frozen
class ConsoleConfig:
    """The pages for people, in Airflow's user interface. Times in seconds."""

    roles: tuple[str, ...] = field(
        default=(), converter=tuple
    )  # "radiologist=user:NAME" or "operator=role:ROLE" (of Airflow's auth manager); nobody else gets in
    patients_for: tuple[str, ...] = field(default=("radiologist",), converter=tuple)  # whose pages show PatientIDs
    pixels_for: tuple[str, ...] = field(
        default=("radiologist", "auditor", "admin"), converter=tuple
    )  # whose pages show slices
    pacs_viewer: str = (
        ""  # URL of a study in the PACS viewer: {study_uid}, {series_uid}, {sop_instance_uid}; "": no link
    )
    own_stage_first: bool = False  # a radiologist gives a stage of their own before the AI's is shown to them
    connections: int = 4  # to the database at once, a process of the API server
    statement_timeout_s: int = 5

    def __attrs_post_init__(self) -> None:
        for entry in self.roles:
            role, _, whom = entry.partition("=")
            kind, _, name = whom.partition(":")
            if role not in CONSOLE_ROLES or kind not in ("user", "role") or not name.strip():
                raise ConfigError(
                    f"console.roles holds {entry!r}; one of {', '.join(CONSOLE_ROLES)}, then =user:NAME or =role:NAME"
                )
        for setting in ("patients_for", "pixels_for"):
            unknown = sorted(set(getattr(self, setting)) - set(CONSOLE_ROLES))
            if unknown:
                raise ConfigError(f"console.{setting} names {', '.join(unknown)}; known: {', '.join(CONSOLE_ROLES)}")
        url = urlsplit(self.pacs_viewer)
        if (
            self.pacs_viewer
            and url.scheme != "https"
            and not (url.scheme == "http" and is_loopback(url.hostname or ""))
        ):
            raise ConfigError("console.pacs_viewer must begin with https://, unless it is on this machine")
        unknown = sorted(set(re.findall(r"{([^}]*)}", self.pacs_viewer)) - _VIEWER_FIELDS)
        if unknown:
            raise ConfigError(
                f"console.pacs_viewer holds {{{unknown[0]}}}; known: {', '.join(sorted(_VIEWER_FIELDS))}: "
                "no patient is named in a URL"
            )
        if min(self.connections, self.statement_timeout_s) < 1:
            raise ConfigError("console.connections and console.statement_timeout_s are 1 or more")

    def roles_of(self, user: str, airflow_roles: Sequence[str]) -> frozenset[str]:
        """The roles of a user with these roles in Airflow; empty: none."""
        held = {f"user:{user}", *(f"role:{name.casefold()}" for name in airflow_roles)}
        found = set()
        for entry in self.roles:
            role, _, whom = entry.partition("=")
            kind, _, name = whom.partition(":")
            if f"{kind}:{name.casefold() if kind == 'role' else name}" in held:
                found.add(role)
        return frozenset(found)


@frozen
class RisConfig:
    """The RIS: results to it as HL7 v2.5.1 over MLLP, and its word that patients were merged. Times in seconds."""

    host: str = ""  # empty: no result is sent by HL7
    port: int = 2575
    sending_application: str = "GTRBATCH"  # MSH-3
    sending_facility: str = ""  # MSH-4
    receiving_application: str = ""  # MSH-5
    receiving_facility: str = ""  # MSH-6
    processing_id: str = "P"  # MSH-11: "P" (production) | "T" (training) | "D" (debugging)
    assigning_authority: str = ""  # CX.4 of the PatientIDs that the PACS has; empty: the issuer that the PACS says
    accession_fields: tuple[str, ...] = field(
        default=("18",), converter=tuple
    )  # fields of OBR that hold the accession number: "2", "3", "18"
    connect_timeout_s: float = 10.0
    answer_timeout_s: float = 30.0
    max_tries: int = 10  # without an answer that settles it; then it is a dead letter
    first_wait_s: float = 60.0  # before the second try; twice as long before each further one
    longest_wait_s: float = 3600.0
    listen_host: str = "127.0.0.1"  # interface on which `gtr ris listen` takes ADT^A40
    listen_port: int = 0  # 0: nobody listens
    listen_peers: tuple[str, ...] = field(default=(), converter=tuple)  # addresses and networks that may connect
    listen_timeout_s: float = 30.0  # of one message, and of the TLS handshake
    tls_ca: str = ""  # PEM: authorities whose certificates we believe; "": no TLS, in either direction
    tls_cert: str = ""  # PEM: our certificate, where the other side asks for one; needed to listen with TLS
    tls_key: str = ""  # PEM: its key, without a passphrase

    def __attrs_post_init__(self) -> None:
        if self.processing_id not in ("P", "T", "D"):
            raise ConfigError(f"ris.processing_id is {self.processing_id!r}; 'P', 'T' or 'D'")
        if not set(self.accession_fields) <= {"2", "3", "18"}:
            raise ConfigError(f"ris.accession_fields is {list(self.accession_fields)}; of '2', '3' and '18'")
        if bool(self.tls_cert) != bool(self.tls_key) or (self.tls_cert and not self.tls_ca):
            raise ConfigError("TLS needs ris.tls_ca; ris.tls_cert and ris.tls_key go together")
        if self.listen_port and not self.listen_peers:
            raise ConfigError("ris.listen_port is set: ris.listen_peers names the addresses that may connect")
        if self.listen_port and self.tls_ca and not self.tls_cert:
            raise ConfigError("ris.listen_port with ris.tls_ca needs ris.tls_cert and ris.tls_key too")
        for peer in self.listen_peers:
            try:
                ipaddress.ip_network(peer, strict=False)
            except ValueError:
                raise ConfigError(f"ris.listen_peers holds {peer!r}; an address or a network") from None
        if (
            self.max_tries < 1
            or min(self.first_wait_s, self.connect_timeout_s, self.answer_timeout_s, self.listen_timeout_s) <= 0
        ):
            raise ConfigError("ris.max_tries, ris.first_wait_s and the timeouts of [ris] are above 0")


@frozen
class FhirConfig:
    """A FHIR R4 server that is told of results; tries and waits are those of the section `ris`."""

    url: str = ""  # base URL; empty: none. https, unless on this machine
    token: str = field(default="", repr=False)  # sent as bearer token
    ca_file: Path | None = field(default=None, converter=attrs.converters.optional(Path))  # none: the system's
    certificate: Path | None = field(default=None, converter=attrs.converters.optional(Path))  # ours, where it asks
    key: Path | None = field(default=None, converter=attrs.converters.optional(Path))
    patient_system: str = ""  # URI of the PatientIDs' system; empty: none is said
    accession_system: str = ""  # URI of the accession numbers' system
    timeout_s: float = 30.0  # of a connection, and of each answer

    def __attrs_post_init__(self) -> None:
        url = urlsplit(self.url)
        local = url.scheme == "http" and is_loopback(url.hostname or "")
        if self.url and not ((url.scheme == "https" or local) and url.hostname):
            raise ConfigError("fhir.url must begin with https://, unless it is on this machine")
        if self.timeout_s <= 0:
            raise ConfigError(f"fhir.timeout_s is {self.timeout_s:g}; above 0")


@frozen
class Config:
    """All settings."""

    pacs: PacsConfig = field(factory=PacsConfig)
    dicomweb: DicomwebConfig = field(factory=DicomwebConfig)
    database: DatabaseConfig = field(factory=DatabaseConfig)
    files: FilesConfig = field(factory=FilesConfig)
    ehr: EhrConfig = field(factory=EhrConfig)
    intake: IntakeConfig = field(factory=IntakeConfig)
    validate: ValidateConfig = field(factory=ValidateConfig)
    preprocess: PreprocessConfig = field(factory=PreprocessConfig)
    stage: StageConfig = field(factory=StageConfig)
    report: ReportConfig = field(factory=ReportConfig)
    night: NightConfig = field(factory=NightConfig)
    training: TrainingConfig = field(factory=TrainingConfig)
    governance: GovernanceConfig = field(factory=GovernanceConfig)
    audit: AuditConfig = field(factory=AuditConfig)
    audit_trail: AuditTrailConfig = field(factory=AuditTrailConfig)
    notify: NotifyConfig = field(factory=NotifyConfig)
    console: ConsoleConfig = field(factory=ConsoleConfig)
    ris: RisConfig = field(factory=RisConfig)
    fhir: FhirConfig = field(factory=FhirConfig)

    @property
    def uses_dimse(self) -> bool:
        """Whether the PACS is talked to by DIMSE, in one direction at least."""
        return not (self.dicomweb.retrieve and self.dicomweb.deliver)

    @property
    def tells_of_results(self) -> bool:
        """Whether another system than the PACS is told of results."""
        return bool(self.ris.host or self.fhir.url)

    @property
    def sends_words(self) -> bool:
        """Whether the PACS is sent what readers say."""
        return self.report.reader_word_sr


def load(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read settings.

    Parameters
    ----------
    path : Path, optional
        TOML file; default the one that ``GTR_CONFIG`` names, or none.
    environ : mapping, optional
        Default `os.environ`.

    Raises
    ------
    ConfigError
        A file that cannot be read, an unknown key, or a value of the wrong kind; names the key.
    """
    env = os.environ if environ is None else environ
    if path is None and env.get("GTR_CONFIG"):
        path = Path(env["GTR_CONFIG"])
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(path.read_text())
        except (OSError, tomllib.TOMLDecodeError) as err:
            raise ConfigError(f"settings {path}: {err}; see {_PAGE}") from err
    sections = {a.name: typing.get_type_hints(Config)[a.name] for a in attrs.fields(Config)}
    unknown = sorted(set(table) - set(sections))
    if unknown:
        raise ConfigError(
            f"unknown section(s) in settings: {', '.join(unknown)}; known: {', '.join(sections)}; see {_PAGE}"
        )
    built = {}
    for section, cls in sections.items():
        given = dict(table.get(section, {}))
        prefix = f"GTR_{section.upper()}__"
        given.update({k[len(prefix) :].lower(): v for k, v in env.items() if k.startswith(prefix)})
        kinds = typing.get_type_hints(cls)
        strange = sorted(set(given) - set(kinds))
        if strange:
            raise ConfigError(f"unknown setting(s): {', '.join(f'{section}.{k}' for k in strange)}; see {_PAGE}")
        built[section] = cls(**{k: _coerce(kinds[k], v, f"{section}.{k}") for k, v in given.items()})
    return Config(**built)


def _coerce(kind: Any, value: Any, where: str) -> Any:
    try:
        if kind is bool:
            if isinstance(value, bool):
                return value
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[str(value).lower()]
        if kind is time:
            return value if isinstance(value, time) else time.fromisoformat(str(value))
        if typing.get_origin(kind) is tuple:
            return (
                tuple(value) if not isinstance(value, str) else tuple(x.strip() for x in value.split(",") if x.strip())
            )
        if isinstance(kind, types.UnionType):
            return value
        return kind(value)
    except (KeyError, TypeError, ValueError) as err:
        raise ConfigError(
            f"setting {where} = {value!r} is not a {getattr(kind, '__name__', kind)}; see {_PAGE}"
        ) from err

"""The one place where the real things are built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, frozen

from gtr_batch.audit.site import AuditProgress, AuditSite
from gtr_batch.config import Config, load
from gtr_batch.domain.result_message import Channel
from gtr_batch.governance.site import GovernanceSite
from gtr_batch.night.site import Alert, Site, StepProgress, check_running
from gtr_batch.ports import ImageArchive, NoticeChannel, Progress, ResultReceiver
from gtr_batch.training.site import TrainingProgress, TrainingSite

if TYPE_CHECKING:
    from gtr_batch.console.site import ConsoleSite
    from gtr_batch.db import Database, PostgresCases
    from gtr_batch.db.access import PostgresAccessTrail
    from gtr_batch.db.audit import PostgresAuditBook
    from gtr_batch.db.canaries import PostgresCanaries
    from gtr_batch.db.messages import PostgresResultMessages
    from gtr_batch.db.registry import PostgresRegistry
    from gtr_batch.db.settings import PostgresSettings
    from gtr_batch.db.switch import PostgresSwitch
    from gtr_batch.db.words import PostgresReaderWords
    from gtr_batch.domain.reader_word import WaitingWords
    from gtr_batch.files import LocalFileStore
    from gtr_batch.governance.merges import Applied
    from gtr_batch.governance.model_store import RegistryModelStore
    from gtr_batch.night.messages import Sent
    from gtr_batch.night.watch import Watched
    from gtr_batch.pacs import Pacs
    from gtr_batch.ports import ReaderWords


@frozen
class SystemClock:
    """The wall clock."""

    def now(self) -> datetime:
        """Now, in UTC."""
        return datetime.now(UTC)


@define(slots=False)
class _Adapters:
    """The real things, each built once and when it is first asked for; what nobody asks for is not even imported."""

    config: Config

    @cached_property
    def database(self) -> Database:
        from gtr_batch.db import Database

        return Database(self.config.database)

    @cached_property
    def trail(self) -> PostgresAccessTrail:
        from gtr_batch.db.access import PostgresAccessTrail

        return PostgresAccessTrail(self.database)

    @cached_property
    def archive(self) -> ImageArchive:
        web = self.config.dicomweb
        if not (web.retrieve or web.deliver):
            return self._dimse()
        from gtr_batch.dicomweb import Dicomweb, Directions

        dicomweb = Dicomweb(web, self.config.pacs, self._check_running)
        if not self.config.uses_dimse:
            return dicomweb
        return Directions(dicomweb, self._dimse()) if web.retrieve else Directions(self._dimse(), dicomweb)

    def _dimse(self) -> Pacs:
        from gtr_batch.pacs import Pacs

        return Pacs(self.config.pacs, may_send=self._check_running)

    def _check_running(self) -> None:
        if self.config.database.dsn:
            check_running(self.switch)

    @cached_property
    def switch(self) -> PostgresSwitch:
        from gtr_batch.db.switch import PostgresSwitch

        return PostgresSwitch(self.database)

    @cached_property
    def canaries(self) -> PostgresCanaries:
        from gtr_batch.db.canaries import PostgresCanaries

        return PostgresCanaries(self.database)

    @cached_property
    def files(self) -> LocalFileStore:
        from gtr_batch.files import LocalFileStore

        return LocalFileStore(self.config.files.root)

    @cached_property
    def cases(self) -> PostgresCases:
        from gtr_batch.db import PostgresCases

        return PostgresCases(self.database, self.channels)

    @property
    def channels(self) -> list[Channel]:
        """The systems that are told of results."""
        return _told_of_results(self.config)

    @cached_property
    def messages(self) -> PostgresResultMessages:
        from gtr_batch.db.messages import PostgresResultMessages

        return PostgresResultMessages(self.database)

    @cached_property
    def words(self) -> PostgresReaderWords:
        from gtr_batch.db.words import PostgresReaderWords

        return PostgresReaderWords(self.database, self.channels)

    @cached_property
    def registry(self) -> PostgresRegistry:
        from gtr_batch.db.registry import PostgresRegistry

        return PostgresRegistry(self.database)

    @cached_property
    def model_store(self) -> RegistryModelStore:
        from gtr_batch.governance.model_store import RegistryModelStore

        return RegistryModelStore(self.registry, self.config.stage.artefact)

    @cached_property
    def settings_history(self) -> PostgresSettings:
        from gtr_batch.db.settings import PostgresSettings

        return PostgresSettings(self.database)

    @cached_property
    def audit_book(self) -> PostgresAuditBook:
        from gtr_batch.db.audit import PostgresAuditBook

        return PostgresAuditBook(self.database)


@contextmanager
def _adapters(config: Config | None, environ: Mapping[str, str] | None = None) -> Iterator[_Adapters]:
    """The adapters of these settings, or of those that the environment names; the database is closed after."""
    adapters = _Adapters(config or load(environ=environ))
    try:
        yield adapters
    finally:
        adapters.database.close()


def _night_site(adapters: _Adapters, progress: StepProgress | None, alert: Alert | None) -> Site:
    from gtr_batch.audit.alarms import StopAlarms
    from gtr_batch.db import PostgresClinicalSource, PostgresDeliveries, PostgresNights
    from gtr_batch.db.looks import PostgresStudyLooks
    from gtr_batch.db.notices import PostgresNotices
    from gtr_batch.db.shadow import PostgresShadows

    site = Site(
        config=adapters.config,
        archive=adapters.archive,
        nights=PostgresNights(adapters.database),
        cases=adapters.cases,
        deliveries=PostgresDeliveries(adapters.database),
        clinical=PostgresClinicalSource(adapters.database),
        files=adapters.files,
        model_store=adapters.model_store,
        clock=SystemClock(),
        settings_history=adapters.settings_history,
        shadows=PostgresShadows(adapters.database),
        hold=StopAlarms(adapters.audit_book),
        looks=PostgresStudyLooks(adapters.database),
        trail=adapters.trail,
        switch=adapters.switch,
        notices=PostgresNotices(adapters.database),
        canaries=adapters.canaries,
    )
    if progress is not None:
        site.progress = progress
    if alert is not None:
        site.alert = alert
    return site


@contextmanager
def open_site(
    config: Config | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    progress: StepProgress | None = None,
    alert: Alert | None = None,
) -> Iterator[Site]:
    """Build the adapters from settings, and close them after.

    Nothing connects before it is first used. `alert` tells operations at once, beside the log.

    Raises
    ------
    ConfigError
        The settings are wrong.
    """
    with _adapters(config, environ) as adapters:
        yield _night_site(adapters, progress, alert)


@contextmanager
def open_governance(
    config: Config | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    progress: StepProgress | None = None,
    alert: Alert | None = None,
) -> Iterator[GovernanceSite]:
    """Build what those who decide about models are given, and close it after; arguments and errors as `open_site`."""
    from gtr_batch.db.approvals import PostgresApprovals
    from gtr_batch.db.confirmations import PostgresSliceConfirmations
    from gtr_batch.db.restages import PostgresRestages
    from gtr_batch.files import REPLAYS, LocalFileStore

    with _adapters(config, environ) as adapters:
        yield GovernanceSite(
            night=_night_site(adapters, progress, alert),
            registry=adapters.registry,
            restages=PostgresRestages(adapters.database),
            approvals=PostgresApprovals(adapters.database),
            scratch=LocalFileStore(adapters.config.files.root / REPLAYS),
            confirmations=PostgresSliceConfirmations(adapters.database),
        )


@contextmanager
def open_words(config: Config | None = None, *, environ: Mapping[str, str] | None = None) -> Iterator[ReaderWords]:
    """What readers say of results, for a site without the console; arguments and errors as `open_site`."""
    with _adapters(config, environ) as adapters:
        yield adapters.words


@contextmanager
def open_training(
    config: Config | None = None, *, environ: Mapping[str, str] | None = None, progress: TrainingProgress | None = None
) -> Iterator[TrainingSite]:
    """Build what a retraining is given, and close it after; raises as `open_site`."""
    from gtr_batch.db.cohorts import PostgresCohorts

    with _adapters(config, environ) as adapters:
        cohorts = PostgresCohorts(adapters.database)
        site = TrainingSite(
            config=adapters.config,
            archive=adapters.archive,
            cases=adapters.cases,
            source=cohorts,
            cohorts=cohorts,
            files=adapters.files,
            model_store=adapters.model_store,
            registry=adapters.registry,
        )
        if progress is not None:
            site.progress = progress
        yield site


@contextmanager
def open_audit(
    config: Config | None = None, *, environ: Mapping[str, str] | None = None, progress: AuditProgress | None = None
) -> Iterator[AuditSite]:
    """Build what an audit is given, and close it after; raises as `open_site`."""
    from gtr_batch.db.audit import PostgresAuditSource

    with _adapters(config, environ) as adapters:
        site = AuditSite(
            config=adapters.config,
            source=PostgresAuditSource(adapters.database, adapters.config.night.timezone),
            book=adapters.audit_book,
            registry=adapters.registry,
            clock=SystemClock(),
            settings_history=adapters.settings_history,
            trail=adapters.trail,
        )
        if progress is not None:
            site.progress = progress
        yield site


def open_console(config: Config | None = None, *, environ: Mapping[str, str] | None = None) -> ConsoleSite:
    """Build what the console is given, for as long as the process lives; `ConsoleSite.close` ends its connections.

    Nothing connects before it is first used.

    Raises
    ------
    ConfigError
        The settings are wrong, or name no login for the console.
    """
    import attrs

    from gtr_batch.console.site import ConsoleSite
    from gtr_batch.db import PostgresCases
    from gtr_batch.db.access import PostgresAccessTrail
    from gtr_batch.db.audit import PostgresAuditBook
    from gtr_batch.db.console import PostgresConsole
    from gtr_batch.db.pool import PooledDatabase
    from gtr_batch.db.registry import PostgresRegistry
    from gtr_batch.db.switch import PostgresSwitch
    from gtr_batch.db.words import PostgresReaderWords
    from gtr_batch.errors import ConfigError
    from gtr_batch.files import LocalFileStore

    config = config or load(environ=environ)
    if not config.database.console_dsn:
        raise ConfigError(
            "database.console_dsn is empty: give the console a login in gtr_console (sql/README.md, Roles)"
        )
    login = attrs.evolve(
        config.database,
        dsn=config.database.console_dsn,
        governor_dsn="",
        owner_dsn="",
        connect_timeout_s=min(3, config.database.connect_timeout_s),
        statement_timeout_s=config.console.statement_timeout_s,
    )
    database = PooledDatabase(login, config.console.connections)
    return ConsoleSite(
        config=attrs.evolve(config, database=login),
        book=PostgresConsole(database),
        words=PostgresReaderWords(database, _told_of_results(config)),
        cases=PostgresCases(database),
        audits=PostgresAuditBook(database),
        registry=PostgresRegistry(database),
        switch=PostgresSwitch(database),
        trail=PostgresAccessTrail(database),
        files=LocalFileStore(config.files.root),
        clock=SystemClock(),
        close=database.close,
    )


def send_audit_trail(config: Config | None = None) -> int:
    """Send what the hospital's audit repository has not got; returns how many events that were.

    Raises
    ------
    ConfigError
        No repository is named (`audit_trail.syslog`).
    ReceiverUnreachable
        It did not take them; they wait.
    """
    from gtr_batch.access import send_waiting
    from gtr_batch.errors import ConfigError
    from gtr_batch.syslog import SyslogReceiver

    with _adapters(config) as adapters:
        if not adapters.config.audit_trail.syslog:
            raise ConfigError("audit_trail.syslog is empty: name the audit repository as host:port")
        return send_waiting(adapters.trail, SyslogReceiver(adapters.config.audit_trail))


@contextmanager
def open_messages(config: Config | None = None) -> Iterator[PostgresResultMessages]:
    """What other systems are told of results; closed after."""
    with _adapters(config) as adapters:
        yield adapters.messages


def waiting_words(config: Config | None = None) -> WaitingWords:
    """Readers' words that the PACS did not take when they were sent."""
    from gtr_batch.db.word_reports import PostgresWordReports

    with _adapters(config) as adapters:
        return PostgresWordReports(adapters.database).waiting()


def send_result_messages(config: Config | None = None, alert: Alert | None = None) -> Sent:
    """Send every message about a result that is due, and readers' words to the PACS where the site wants that.

    See `gtr_batch.night.messages` and `gtr_batch.night.word_reports`.

    Raises
    ------
    ConfigError
        No system is named (`ris.host`, `fhir.url`), and the PACS is not sent readers' words (`report.reader_word_sr`).
    ReceiverUnreachable
        One did not take what it was sent; it waits.
    ServiceStopped
        A person has stopped the service.
    """
    from gtr_batch.errors import ConfigError, ReceiverUnreachable
    from gtr_batch.night.messages import Sent, send_results

    with _adapters(config) as adapters:
        receivers = _receivers(adapters.config)
        if not receivers and not adapters.config.sends_words:
            raise ConfigError("ris.host and fhir.url are empty: name a system that is told of results; see docs/ris.md")
        sent, ill = [_send_words(adapters, alert)], None
        for receiver in receivers:  # one that does not answer keeps nothing from the other
            try:
                sent.append(
                    send_results(adapters.messages, receiver, adapters.config.ris, switch=adapters.switch, alert=alert)
                )
            except ReceiverUnreachable as error:
                ill = error
        if ill is not None:
            raise ill
    return Sent(sum(s.taken for s in sent), sum(s.waiting for s in sent), sum(s.dead for s in sent))


def _send_words(adapters: _Adapters, alert: Alert | None) -> Sent:
    from gtr_batch.db.word_reports import PostgresWordReports
    from gtr_batch.night.messages import Sent
    from gtr_batch.night.word_reports import send_words

    if not adapters.config.sends_words:
        return Sent()
    return send_words(_night_site(adapters, None, alert), PostgresWordReports(adapters.database))


def _receivers(config: Config) -> list[ResultReceiver]:
    found: list[ResultReceiver] = []
    if config.ris.host:
        from gtr_batch.ris import RisReceiver

        found.append(RisReceiver(config.ris, config.night.timezone))
    if config.fhir.url:
        from gtr_batch.fhir import FhirServer

        found.append(FhirServer(config.fhir, config.night.timezone))
    return found


def fhir_of_case(case_id: str, *, by: str, why: str, config: Config | None = None) -> str:
    """A case's result as a FHIR transaction; that `by` is given the patient's number is noted before.

    Raises
    ------
    InputRefused
        No such case, or one without a result in the PACS; nobody, or no reason, is named.
    """
    from gtr_batch.access import looked_at_patient
    from gtr_batch.fhir import bundle_of
    from gtr_batch.governance.telling import message_about

    with _adapters(config) as adapters:
        site = _night_site(adapters, None, None)
        message = message_about(site, adapters.registry, adapters.messages, case_id, by=by, why=why)
        looked_at_patient(adapters.trail, message.case.case_id, by=by, why=why)
        return bundle_of(message, adapters.config.fhir, adapters.config.night.timezone)


def apply_patient_merges(config: Config | None = None) -> Applied:
    """Give cases of merged patients the PatientID that the PACS has; see `gtr_batch.governance.merges`."""
    from gtr_batch.db.merges import PostgresPatientMerges
    from gtr_batch.governance.merges import apply_merges

    with _adapters(config) as adapters:
        return apply_merges(_night_site(adapters, None, None), PostgresPatientMerges(adapters.database))


def listen_for_merges(config: Config | None = None) -> None:
    """Take ADT^A40 until the process is ended (SIGTERM, SIGINT); `ConfigError` where the port cannot be opened."""
    import asyncio
    import signal

    from gtr_batch.db.merges import PostgresPatientMerges
    from gtr_batch.ris import MergeListener

    async def listen(adapters: _Adapters) -> None:
        listener = MergeListener(
            adapters.config.ris,
            PostgresPatientMerges(adapters.database),
            lambda: apply_patient_merges(adapters.config),
        )
        for one in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(one, listener.stop)
        await listener.run()

    with _adapters(config) as adapters:
        asyncio.run(listen(adapters))


def watch_nights(config: Config | None = None) -> Watched:
    """Look how the nights are and tell operations what they do not know yet; see `gtr_batch.night.watch`.

    Raises
    ------
    ConfigError
        The settings name nobody who could be told.
    DatabaseBusy
        The database does not answer: operations are told that, once.
    """
    from gtr_batch.errors import DatabaseBusy
    from gtr_batch.night import watch

    with _adapters(config) as adapters:
        channels = _channels(adapters.config)
        try:
            return watch.watch(_night_site(adapters, None, None), channels)
        except DatabaseBusy as err:
            watch.tell_of_the_database(adapters.config, channels, err)
            raise


def send_test_notice(config: Config | None = None) -> list[str]:
    """Send a test notice over every channel; returns their names, `NoticeNotDelivered` at the first that fails."""
    from gtr_batch.domain.notice import Notice, NoticeKind

    body = "This is a test of `gtr watch --test`."
    notice = Notice(f"test:{datetime.now(UTC).isoformat()}", NoticeKind.RESUMED, None, "gtr-batch: test notice", body)
    channels = _channels(config or load())
    for channel in channels:
        channel.deliver(notice)
    return [channel.name for channel in channels]


def _told_of_results(config: Config) -> list[Channel]:
    named = {Channel.HL7: config.ris.host, Channel.FHIR: config.fhir.url}
    return [channel for channel, where in named.items() if where]


def _channels(config: Config) -> list[NoticeChannel]:
    from gtr_batch.errors import ConfigError
    from gtr_batch.notify import channels_of

    channels = channels_of(config.notify)
    if not channels:
        raise ConfigError(
            "neither notify.smtp_host nor notify.webhook_url is set: nobody could be told; see docs/operations.md, Who "
            "is told"
        )
    return channels


def refresh_ehr(config: Config | None = None, folder: Path | None = None, progress: Progress | None = None) -> dict:
    """Load the EHR extracts of a folder; a bad file changes nothing (`gtr_batch.db.ehr.load_extracts`)."""
    from gtr_batch.db.ehr import load_extracts

    with _adapters(config) as adapters:
        return load_extracts(adapters.database, folder or adapters.config.ehr.folder, progress=progress).as_json()

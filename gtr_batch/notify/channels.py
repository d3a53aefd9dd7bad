"""The two channels. An error names its class and status: what the other side says may quote anything."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime, localtime

from gtr_batch.config import NotifyConfig
from gtr_batch.domain.notice import Notice
from gtr_batch.errors import NoticeNotDelivered
from gtr_batch.logs import get_logger
from gtr_batch.ports import NoticeChannel

log = get_logger("watch")


def channels_of(config: NotifyConfig) -> list[NoticeChannel]:
    """The channels that the settings name; none where nobody is to be told."""
    found: list[NoticeChannel] = []
    if config.smtp_host:
        found.append(SmtpChannel(config))
    if config.webhook_url:
        found.append(WebhookChannel(config))
    return found


class SmtpChannel:
    """Email to `notify.smtp_to`, over TLS unless the mail server is on this machine.

    A notice that is sent twice, since the answer was lost, has the same Message-ID both times.
    """

    name = "smtp"

    def __init__(self, config: NotifyConfig) -> None:
        self._config = config

    def deliver(self, notice: Notice) -> None:
        """Send one notice; `NoticeNotDelivered` where no recipient took it."""
        config = self._config
        try:
            with self._connected() as server:
                if config.smtp_user:
                    server.login(config.smtp_user, config.smtp_password)
                refused = server.send_message(self._message(notice))
        except (smtplib.SMTPException, OSError) as err:
            raise NoticeNotDelivered(f"email: {_named(err)}") from None
        if refused:
            log.error("notice.recipients_refused", recipients=len(refused))

    def _connected(self) -> smtplib.SMTP:
        config = self._config
        if config.smtp_tls == "tls":
            return smtplib.SMTP_SSL(
                config.smtp_host, config.smtp_port, timeout=config.timeout_s, context=_trusting(config)
            )
        server = smtplib.SMTP(config.smtp_host, config.smtp_port, timeout=config.timeout_s)
        try:
            if config.smtp_tls == "starttls":
                server.starttls(context=_trusting(config))
        except BaseException:
            server.close()
            raise
        return server

    def _message(self, notice: Notice) -> EmailMessage:
        message = EmailMessage()
        message["Subject"], message["From"] = notice.subject, self._config.smtp_from
        message["To"] = ", ".join(self._config.smtp_to)
        message["Date"] = format_datetime(localtime())
        message["Message-ID"] = f"<{hashlib.sha256(notice.key.encode()).hexdigest()[:32]}@gtr-batch>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(notice.body)
        return message


class WebhookChannel:
    """JSON by HTTP POST to `notify.webhook_url`; anything but 2xx is no delivery."""

    name = "webhook"

    def __init__(self, config: NotifyConfig) -> None:
        self._config = config

    def deliver(self, notice: Notice) -> None:
        """Send one notice; `NoticeNotDelivered` where it was not taken. `key` tells what came twice."""
        import httpx

        token = self._config.webhook_token
        body = {
            "key": notice.key,
            "kind": str(notice.kind),
            "night": str(notice.night) if notice.night else None,
            "subject": notice.subject,
            "text": notice.body,
        }
        try:
            httpx.post(
                self._config.webhook_url,
                json=body,
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=self._config.timeout_s,
                follow_redirects=False,
                verify=_trusting(self._config),
            ).raise_for_status()
        except httpx.HTTPStatusError as err:
            raise NoticeNotDelivered(f"webhook: status {err.response.status_code}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as err:
            raise NoticeNotDelivered(f"webhook: {_named(err)}") from None  # not the message: the URL may hold a secret


def _trusting(config: NotifyConfig) -> ssl.SSLContext:
    """TLS that believes the authorities of `notify.ca_file`, or the system's."""
    try:
        return ssl.create_default_context(cafile=str(config.ca_file) if config.ca_file else None)
    except OSError as err:
        raise NoticeNotDelivered(f"notify.ca_file cannot be read: {type(err).__name__}") from None


def _named(err: Exception) -> str:
    code = getattr(err, "smtp_code", None)
    return type(err).__name__ if code is None else f"{type(err).__name__} {code}"

"""Hooks behind our connection types; they are there for the Test button of the connection form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook, Connection

from gtr_airflow.connections import pacs_settings

if TYPE_CHECKING:
    from gtr_batch.pacs import Pacs


class DicomHook(BaseHook):
    """A PACS, from a ``dicom`` connection."""

    conn_name_attr = "dicom_conn_id"
    default_conn_name = "gtr_pacs"
    conn_type = "dicom"
    hook_name = "DICOM PACS"

    def __init__(self, dicom_conn_id: str = default_conn_name, logger_name: str | None = None) -> None:
        super().__init__(logger_name=logger_name)
        self.dicom_conn_id = dicom_conn_id

    def get_conn(self) -> Pacs:
        """The PACS as our adapter; nothing is connected yet."""
        from gtr_batch import config
        from gtr_batch.pacs import Pacs

        settings = pacs_settings(self.get_connection(self.dicom_conn_id))
        return Pacs(config.load(environ=settings).pacs)

    def test_connection(self) -> tuple[bool, str]:
        """C-ECHO."""
        from gtr_batch.errors import GtrError

        try:
            self.get_conn().echo()
        except GtrError as err:
            return False, str(err)
        return True, "C-ECHO answered with success"


class AlertHook(BaseHook):
    """Where operations hear of a night, from a ``gtr_alerts`` connection."""

    conn_name_attr = "alerts_conn_id"
    default_conn_name = "gtr_alerts"
    conn_type = "gtr_alerts"
    hook_name = "Night alerts"

    def __init__(self, alerts_conn_id: str = default_conn_name, logger_name: str | None = None) -> None:
        super().__init__(logger_name=logger_name)
        self.alerts_conn_id = alerts_conn_id

    def get_conn(self) -> Connection:
        """The connection itself: there is nothing to keep open."""
        return self.get_connection(self.alerts_conn_id)

    def send(self, subject: str, text: str) -> list[str]:
        """Send to the webhook and the recipients that the connection names.

        Returns
        -------
        list of str
            One sentence for each channel that could not be reached; empty: all were.
        """
        import smtplib

        import httpx

        connection = self.get_conn()
        trouble = []
        if connection.host:
            headers = {"Authorization": f"Bearer {connection.password}"} if connection.password else {}
            try:
                body = {"subject": subject, "text": text}
                httpx.post(connection.host, json=body, headers=headers, timeout=10).raise_for_status()
            except (httpx.HTTPError, httpx.InvalidURL) as err:
                trouble.append(f"webhook: {type(err).__name__}")  # not the message: the URL may hold a secret
        if to := connection.extra_dejson.get("email_to"):
            from airflow.exceptions import AirflowException
            from airflow.providers.smtp.hooks.smtp import SmtpHook

            try:
                with SmtpHook() as mail:
                    recipients = [address.strip() for address in to.split(",") if address.strip()]
                    mail.send_email_smtp(to=recipients, subject=subject, html_content=f"<p>{text}</p>")
            except (AirflowException, OSError, smtplib.SMTPException) as err:
                trouble.append(f"email: {type(err).__name__}")
        return trouble

    def test_connection(self) -> tuple[bool, str]:
        """Send a test alert."""
        trouble = self.send("gtr-batch: test alert", "This is a test from Airflow's connection form.")
        return not trouble, "; ".join(trouble) or "sent"

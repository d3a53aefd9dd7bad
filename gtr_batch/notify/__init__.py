"""How operations are told: by email (SMTP) and by webhook (HTTP POST of JSON)."""

from gtr_batch.notify.channels import SmtpChannel, WebhookChannel, channels_of

__all__ = ["SmtpChannel", "WebhookChannel", "channels_of"]

"""The hospital's audit repository: DICOM audit messages (PS3.15 A.5) by syslog over TLS (RFC 5424, RFC 5425)."""

from gtr_batch.syslog.message import audit_message, framed, syslog_message
from gtr_batch.syslog.sender import SyslogReceiver

__all__ = ["SyslogReceiver", "audit_message", "framed", "syslog_message"]

-- An alarm says since when its monitor had been watching, an acknowledgment from which night it watches anew.
alter table drift_alarm rename column epoch to watching_since;
alter table drift_alarm
rename constraint drift_alarm_monitor_model_version_epoch_key to drift_alarm_monitor_model_version_watching_since_key;
comment on table drift_alarm is
    'A monitor of the audit that crossed its threshold: one alarm for each model and watch. Append-only. No PHI. Written '
    'by drift_monitor, monthly_audit and gtr audit.';
comment on column drift_alarm.watching_since is 'First night that the monitor watches: of its watch this is the one alarm.';

alter table drift_alarm_acknowledgment rename column restart to watch_from;
comment on column drift_alarm_acknowledgment.watch_from is
    'Night from which the monitor watches anew; null: it goes on in its watch, in which it raises no second alarm.';

-- The columns of a view keep their names when those of its tables change.
alter view drift_alarm_status rename column epoch to watching_since;
alter view drift_alarm_status rename column restart to watch_from;

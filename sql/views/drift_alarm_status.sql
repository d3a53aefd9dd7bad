-- Every alarm with the run that raised it and what became of it: one row an alarm, no PHI. Read by audit and console.
drop view if exists drift_alarm_status;
create view drift_alarm_status as
select
    a.drift_alarm_id as alarm_id,
    a.monitor,
    a.level,
    a.night,
    a.watching_since,
    a.model_version,
    a.sentence,
    a.detail,
    a.run_id,
    r.kind,
    r.period,
    a.raised_at,
    k.by_whom as acknowledged_by,
    k.at as acknowledged_at,
    k.note,
    k.watch_from
from drift_alarm as a
join audit_run as r using (run_id)
left join drift_alarm_acknowledgment as k using (drift_alarm_id);
comment on view drift_alarm_status is
    'Every alarm with the run that raised it and what became of it. No PHI. Written by no step; read by audit and '
    'console.';

grant select on drift_alarm_status to gtr_app, gtr_governor, gtr_reader, gtr_console;

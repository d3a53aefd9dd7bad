-- Operators stop and resume the service on a page, auditors acknowledge an alarm there. The console's login adds rows to
-- two histories that change and delete nothing; who is signed in stands in by_whom, the login itself in db_user.
grant insert (action, by_whom, why) on service_switch to gtr_console;
create policy the_console_switches on service_switch for insert to gtr_console with check (true);
comment on table service_switch is
    'The whole service stopped and resumed; the newest row holds, none means it runs. Append-only. Written by gtr stop, gtr '
    'resume, their DAGs and the console.';
grant insert (drift_alarm_id, by_whom, note, watch_from) on drift_alarm_acknowledgment to gtr_console;
comment on table drift_alarm_acknowledgment is
    'Who looked at an alarm and what they found; an alarm without a row here is open. Append-only. Written by gtr audit '
    'acknowledge and the console.';

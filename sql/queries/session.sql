-- name: settings(statement_timeout_ms, os_user)
-- Time-outs of a session: no statement, lock or forgotten transaction holds the night. Decisions keep gtr.os_user.
select
    set_config('statement_timeout', %(statement_timeout_ms)s, false),
    set_config('lock_timeout', %(statement_timeout_ms)s, false),
    set_config('idle_in_transaction_session_timeout', '600000', false),
    set_config('TimeZone', 'UTC', false),
    set_config('gtr.os_user', %(os_user)s, false);

-- name: ping()
-- Whether the server is there.
select 1;

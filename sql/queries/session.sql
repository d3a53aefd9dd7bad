-- name: settings(statement_timeout_ms)
-- Time-outs of a session: no statement, lock or forgotten transaction holds the night.
select
    set_config('statement_timeout', %(statement_timeout_ms)s, false),
    set_config('lock_timeout', %(statement_timeout_ms)s, false),
    set_config('idle_in_transaction_session_timeout', '600000', false),
    set_config('TimeZone', 'UTC', false);

-- name: ping()
-- Whether the server is there.
select 1;

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

-- name: deciding_rights()
-- What this login has, or can take, beyond the rights of the night; its own, not those of a role it has set.
select held
from (
    select 1 as place, 'a superuser' as held
    from pg_roles
    where rolname = session_user and rolsuper
    union all
    select 2, 'a role that makes roles'
    from pg_roles
    where rolname = session_user and rolcreaterole
    union all
    select 3, 'in ' || rolname
    from pg_roles
    where rolname in ('gtr_console', 'gtr_governor', 'gtr_owner') and pg_has_role(session_user, oid, 'member')
) as more
order by place, held;

-- name: silence()
-- Statements of this session, and the values in them, are not for the server's log.
select
    set_config('log_min_error_statement', 'panic', false),
    set_config('log_error_verbosity', 'terse', false),
    set_config('log_statement', 'none', false),
    set_config('log_min_duration_statement', '-1', false),
    set_config('log_min_duration_sample', '-1', false),
    set_config('log_transaction_sample_rate', '0', false),
    set_config('log_parameter_max_length', '0', false);

-- name: loud()
-- Settings by which the server would log statements of this session, or values in them.
select name, setting
from pg_settings
join (
    values
    ('log_min_error_statement', 'panic'),
    ('log_error_verbosity', 'terse'),
    ('log_statement', 'none'),
    ('log_min_duration_statement', '-1'),
    ('log_min_duration_sample', '-1'),
    ('log_transaction_sample_rate', '0'),
    ('log_parameter_max_length', '0'),
    ('log_parameter_max_length_on_error', '0'),
    ('auto_explain.log_min_duration', '-1')
) as silent (name, value) using (name)
where setting <> value
order by name;

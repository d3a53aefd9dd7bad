-- What is history is only added to, also by the owner: every table of events, openings, loads and seals.
do $$
declare
    history text;
begin
    foreach history in array array[
        'case_event', 'ehr_load', 'training_cohort', 'holdout_member', 'holdout_subject', 'holdout_opening',
        'withdrawal_notice', 'subject_key'
    ] loop
        execute format(
            'create trigger %I before update or delete or truncate on %I for each statement execute function append_only()',
            history || '_append_only', history
        );
    end loop;
end
$$;
-- The times of these rows are the database's.
revoke insert on case_event from gtr_app;
grant insert (case_id, step, state, detail) on case_event to gtr_app;

-- A result that is made again replaces the one before it, which is kept here.
create table former_row (
    former_row_id bigint generated always as identity primary key,
    table_name    text not null,
    operation     text not null check (operation in ('UPDATE', 'DELETE')),
    content       jsonb not null,
    replaced_at   timestamptz not null default clock_timestamp(),
    db_user       text not null default session_user
);
comment on table former_row is
    'Rows of results, receipts and nights as they were before they were replaced or deleted. Append-only. Written by the '
    'trigger keep_former alone.';
create index on former_row (table_name, former_row_id);
create trigger former_row_append_only before update or delete or truncate on former_row
for each statement execute function append_only();
grant select on former_row to gtr_governor;

create function keep_former() returns trigger
language plpgsql security definer set search_path = pg_catalog, public
as $$
declare
    timed text[] := coalesce(tg_argv, '{}');
begin
    -- A step that is run again and says the same changes nothing but the time, which the arguments name.
    if tg_op = 'DELETE' or to_jsonb(old) - timed <> to_jsonb(new) - timed then
        insert into public.former_row (table_name, operation, content) values (tg_table_name, tg_op, to_jsonb(old));
    end if;
    return null;
end
$$;
comment on function keep_former is 'Keeps a row before it is replaced; its arguments are the columns that do not count.';
revoke all on function keep_former() from public;

create trigger keep_former after update or delete on staging_result
for each row execute function keep_former('staged_at');
create trigger keep_former after update or delete on slice_result
for each row execute function keep_former();
create trigger keep_former after update or delete on nomogram_result
for each row execute function keep_former('scored_at');
create trigger keep_former after update or delete on case_feature
for each row execute function keep_former();
create trigger keep_former after update or delete on shadow_result
for each row execute function keep_former('staged_at');
create trigger keep_former after update or delete on series_fact
for each row execute function keep_former('noted_at');
create trigger keep_former after update or delete on report_object
for each row execute function keep_former('last_written_at');
create trigger keep_former after update or delete on store_receipt
for each row execute function keep_former('last_received_at');
create trigger keep_former after update or delete on storage_commitment
for each row execute function keep_former('received_at');
create trigger keep_former after update or delete on night
for each row execute function keep_former('reopened_at', 'closed_at');

-- Row triggers do not see a truncate.
do $$
declare
    result text;
begin
    foreach result in array array[
        'staging_result', 'slice_result', 'nomogram_result', 'case_feature', 'shadow_result', 'series_fact',
        'report_object', 'store_receipt', 'storage_commitment', 'night'
    ] loop
        execute format(
            'create trigger no_truncate before truncate on %I for each statement execute function append_only()', result
        );
    end loop;
end
$$;

-- Decisions are not the night's. gtr_governor promotes, withdraws, acknowledges, changes settings, lets a replay go to the
-- PACS, freezes cohorts and opens a holdout; gtr_app, whose password every worker of a night holds, does none of it.
do $$
begin
    reset role; -- gtr_owner makes no roles; the login that migrates may
    begin
        if not exists (select from pg_roles where rolname = 'gtr_governor') then
            create role gtr_governor nologin;
        end if;
    exception
        when duplicate_object or unique_violation then
            null; -- made in this very moment by another session
        when insufficient_privilege then
            raise exception 'role gtr_governor is missing: let an administrator make it (create role gtr_governor nologin)'
                using errcode = 'insufficient_privilege';
    end;
    set local role gtr_owner;
end
$$;
grant usage on schema public to gtr_governor;
grant select on schema_migration to gtr_governor;

-- Who decided, beside the name that was given: the login, which the database knows, and the account of the operating
-- system, which the client says (`gtr.os_user`). Null in older rows. No role may write these columns itself.
alter table model_event add column db_user text, add column os_user text;
alter table model_document add column db_user text, add column os_user text;
alter table setting_version add column db_user text, add column os_user text;
alter table drift_alarm_acknowledgment add column db_user text, add column os_user text;
alter table restage_approval add column db_user text, add column os_user text;
alter table holdout_opening add column db_user text, add column os_user text;
do $$
declare
    decided text;
begin
    foreach decided in array array[
        'model_event', 'model_document', 'setting_version', 'drift_alarm_acknowledgment', 'restage_approval',
        'holdout_opening'
    ] loop
        execute format(
            'alter table %I alter column db_user set default session_user, '
            'alter column os_user set default nullif(current_setting(''gtr.os_user'', true), '''')', decided
        );
        execute format('comment on column %I.db_user is %L', decided, 'The login that wrote this row (session_user).');
        execute format(
            'comment on column %I.os_user is %L', decided, 'The account of the operating system, as the client named it.'
        );
    end loop;
end
$$;

-- The registry: gtr_app brings a candidate in and writes its report and card; every other row is the governor's.
revoke insert on model_event, model_document from gtr_app;
grant insert (version, action, from_state, to_state, by_whom, why) on model_event to gtr_app, gtr_governor;
grant insert (version, kind, by_whom, content) on model_document to gtr_app, gtr_governor;
grant select on model_version, model_event, model_document to gtr_governor;
alter table model_event enable row level security;
create policy everybody_reads on model_event for select using (true);
create policy the_app_registers on model_event for insert to gtr_app
with check (action = 'register' and from_state is null);
create policy the_governor_decides on model_event for insert to gtr_governor with check (true);
alter table model_document enable row level security;
create policy everybody_reads on model_document for select using (true);
create policy the_app_describes on model_document for insert to gtr_app
with check (kind in ('training_report', 'model_card'));
create policy the_governor_decides on model_document for insert to gtr_governor with check (true);

revoke insert on withdrawal_notice, setting_version, drift_alarm_acknowledgment, restage_approval from gtr_app;
grant insert (withdrawn_uid, version, notice_uid) on withdrawal_notice to gtr_governor;
grant insert (name, value, by_whom, why) on setting_version to gtr_governor;
grant insert (drift_alarm_id, by_whom, note, watch_from) on drift_alarm_acknowledgment to gtr_governor;
grant insert (digest, by_whom, why) on restage_approval to gtr_governor;
grant select on withdrawal_notice, report_object, setting_version, drift_alarm, drift_alarm_acknowledgment, audit_run,
    restage_comparison, restage_approval to gtr_governor;
grant select on drift_alarm_status to gtr_governor; -- until its file, which grants it too, is applied anew

-- Cohorts and their holdouts. Whoever reads who was ever sealed, and may turn a PatientID into its digest, knows which
-- patients the holdout holds; so does whoever knows those in training and all that were operated.
revoke all on training_cohort, holdout_member, holdout_subject, holdout_opening from gtr_app;
revoke all on function subject_of(text) from gtr_app;
revoke all on function open_holdout(text, text, text, text) from gtr_app;
grant select, insert on training_cohort, holdout_subject to gtr_governor;
grant insert on holdout_member to gtr_governor;
grant select on holdout_opening to gtr_governor;
grant execute on function subject_of(text) to gtr_governor;
grant execute on function open_holdout(text, text, text, text) to gtr_governor;
grant select on staging_case, staging_result, slice_result, series_fact, ehr_patient, ehr_biopsy, ehr_tumour, ehr_treatment,
    ehr_surgery to gtr_governor;
comment on table holdout_member is
    'Sealed: the holdout of each cohort. The governor may add members and cannot read them; open_holdout can. Append-only. '
    'Written by retraining.';

create function audit_subject_of(patient_id text) returns text
language sql stable security definer set search_path = pg_catalog, public
as $$
    select left(encode(sha256(convert_to('audit' || k.key || '|' || patient_id, 'UTF8')), 'hex'), 32)
    from public.subject_key as k
$$;
comment on function audit_subject_of is
    'A patient as a keyed digest for audits: another one than subject_of gives, so that no audit finds a sealed patient.';
revoke all on function audit_subject_of(text) from public;
grant execute on function audit_subject_of(text) to gtr_app;

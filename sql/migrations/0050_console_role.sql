-- The console reads as a role of its own. It sees no patient but through look_at_patients, which writes down who looked,
-- in the same transaction: there is no other way to a PatientID, so no look can be left out of the audit trail.
do $$
begin
    reset role; -- gtr_owner makes no roles; the login that migrates may
    begin
        if not exists (select from pg_roles where rolname = 'gtr_console') then
            create role gtr_console nologin;
        end if;
    exception
        when duplicate_object or unique_violation then
            null; -- made in this very moment by another session
        when insufficient_privilege then
            raise exception 'role gtr_console is missing: let an administrator make it (create role gtr_console nologin)'
                using errcode = 'insufficient_privilege';
    end;
    begin
        grant set on parameter
            log_min_error_statement, log_error_verbosity, log_statement, log_min_duration_statement,
            log_min_duration_sample, log_transaction_sample_rate, log_parameter_max_length
        to gtr_console;
    exception when insufficient_privilege then
        null; -- sql/README.md (Server log) says what an administrator runs
    end;
    set local role gtr_owner;
end
$$;
grant usage on schema public to gtr_console;

-- Tables that name nobody; of a case everything but whose it is.
grant select on
    night, case_event, staging_result, slice_result, nomogram_result, series_fact, report_object, store_receipt,
    withdrawal_notice, audit_run, drift_alarm, drift_alarm_acknowledgment, delivery_pause, model_version, model_event,
    model_document, canary_event, service_switch, schema_migration
to gtr_console;
grant select (case_id, night, study_uid, series_uid, study_at, state, reached, model_version, selection, changed_at)
on staging_case to gtr_console;
grant insert (action, object_kind, object_id, actor, outcome, why) on access_event to gtr_console;

create function look_at_patients(of_cases uuid[], actor text, why text)
returns table (case_id uuid, patient_id text, issuer_of_patient_id text, accession_number text)
language plpgsql security definer set search_path = pg_catalog, public
as $$
begin
    insert into public.access_event (action, object_kind, object_id, actor, why)
    select 'patient.look', 'case', c.case_id::text, look_at_patients.actor, look_at_patients.why
    from public.staging_case as c where c.case_id = any (of_cases);
    return query
    select c.case_id, c.patient_id, c.issuer_of_patient_id, c.accession_number
    from public.staging_case as c where c.case_id = any (of_cases);
end
$$;
comment on function look_at_patients is
    'Whose these cases are, and a row of access_event for each, in one transaction. Called by the console.';
revoke all on function look_at_patients(uuid[], text, text) from public;
grant execute on function look_at_patients(uuid[], text, text) to gtr_console;

create function other_cases_of_patient(of_case uuid) returns table (case_id uuid)
language sql stable security definer set search_path = pg_catalog, public
as $$
    select o.case_id from public.staging_case as c
    join public.staging_case as o
        on o.patient_id = c.patient_id and o.issuer_of_patient_id = c.issuer_of_patient_id and o.case_id <> c.case_id
    where c.case_id = of_case and c.patient_id <> ''
    order by o.night desc, o.case_id
    limit 20
$$;
comment on function other_cases_of_patient is 'The patient''s other cases, newest first, without who it is. Called by the console.';
revoke all on function other_cases_of_patient(uuid) from public;
grant execute on function other_cases_of_patient(uuid) to gtr_console;
create index on staging_case (patient_id) where patient_id <> '';

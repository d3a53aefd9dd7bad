-- name: open_night(night, model_version)
-- A night begins, or begins again.
insert into night (night, model_version) values (%(night)s, %(model_version)s)
on conflict (night) do update set model_version = excluded.model_version, reopened_at = clock_timestamp();

-- name: note_night(night)
-- A night that nobody opened, so that its cases can be written.
insert into night (night) values (%(night)s) on conflict (night) do nothing;

-- name: close_night(night, summary)
-- The night's summary.
insert into night (night, summary, closed_at) values (%(night)s, %(summary)s, clock_timestamp())
on conflict (night) do update set summary = excluded.summary, closed_at = excluded.closed_at;

-- name: night_summary(night)
-- What close_night wrote.
select summary from night where night = %(night)s;

-- name: night_model(night)
-- The model that a night was opened with last.
select model_version from night where night = %(night)s;

-- name: of_accessions(accession_numbers)
-- All cases of these accession numbers.
select * from staging_case where accession_number = any (%(accession_numbers)s) and accession_number <> ''
order by night, study_uid collate "C", series_uid collate "C", case_id;

-- name: last_night()
-- The latest night that was opened; one that so far has only cases taken ahead of it was not.
select max(night) as night from night where model_version <> '' or summary is not null;

-- name: nights_since(at)
-- The nights that were opened, begun again or closed since then; one that has only cases taken ahead of it was not.
select night, coalesce(reopened_at, opened_at) as begun_at, closed_at, summary from night
where model_version <> '' and greatest(opened_at, reopened_at, closed_at) >= %(at)s
order by night;

-- name: record(case_id, night, study_uid, series_uid, patient_id, accession_number, study_at, expected_sop_uids, selection, issuer_of_patient_id)
-- A newly found case; one that is there already stays as it is, and no row comes back. Nor does one come back where
-- another series of the study was chosen before: a study is staged once.
insert into staging_case (
    case_id, night, study_uid, series_uid, patient_id, accession_number, study_at, expected_sop_uids,
    selection, issuer_of_patient_id
)
select
    %(case_id)s::uuid, %(night)s, %(study_uid)s, %(series_uid)s, %(patient_id)s, %(accession_number)s, %(study_at)s,
    %(expected_sop_uids)s, %(selection)s, %(issuer_of_patient_id)s
where %(series_uid)s = '' or not exists (
    select from staging_case as other
    where other.study_uid = %(study_uid)s and other.series_uid not in ('', %(series_uid)s)
)
on conflict (case_id) do nothing
returning case_id;

-- name: hold_study(study_uid)
-- A study, held against every other session that records cases of it until the transaction ends.
select pg_advisory_xact_lock(hashtextextended(%(study_uid)s, 0));

-- name: add_selection(case_id, selection)
-- How the series was selected, for a case that has it not yet.
update staging_case set selection = %(selection)s, changed_at = clock_timestamp()
where case_id = %(case_id)s and selection is null;

-- name: selection(case_id)
-- How the series of a case was selected.
select selection from staging_case where case_id = %(case_id)s;

-- name: get(case_id)
-- One case.
select * from staging_case where case_id = %(case_id)s;

-- name: lock(case_id)
-- One case, held against every other session until the transaction ends.
select * from staging_case where case_id = %(case_id)s for update;

-- name: of_night(night)
-- All cases of a night: by study time, then by what never changes.
select * from staging_case where night = %(night)s
order by study_at nulls last, study_uid collate "C", series_uid collate "C", case_id;

-- name: of_study(study_uid)
-- All cases of a study.
select * from staging_case where study_uid = %(study_uid)s
order by night, study_uid collate "C", series_uid collate "C", case_id;

-- name: of_patients(patient_ids)
-- All cases of these PatientIDs.
select * from staging_case where patient_id = any (%(patient_ids)s)
order by night, study_uid collate "C", series_uid collate "C", case_id;

-- name: of_studies(study_uids)
-- All cases of these studies.
select * from staging_case where study_uid = any (%(study_uids)s)
order by night, study_uid collate "C", series_uid collate "C", case_id;

-- name: uncommitted(before)
-- Cases that the PACS has taken and not committed.
select * from staging_case
where night < %(before)s and reached = 'stored' and state <> 'refused'
order by night, study_uid collate "C", series_uid collate "C", case_id;

-- name: unfinished(before)
-- Cases that are neither committed nor refused.
select * from staging_case
where night < %(before)s and state not in ('committed', 'refused')
order by night, study_uid collate "C", series_uid collate "C", case_id;

-- name: select(case_ids)
-- These cases, in the order asked for.
select c.* from unnest(%(case_ids)s::uuid[]) with ordinality as asked (case_id, position)
join staging_case as c using (case_id)
order by asked.position;

-- name: expect(case_id, sop_uids)
-- The instances that C-FIND promised.
update staging_case set expected_sop_uids = %(sop_uids)s, changed_at = clock_timestamp()
where case_id = %(case_id)s and expected_sop_uids is distinct from %(sop_uids)s;

-- name: move(case_id, night, state, reached, refusal_step, refusal_code, refusal_sentence, refusal_numbers, failure_step, failure_error, failure_retryable)
-- A case's new state; the row is locked.
update staging_case set
    night = %(night)s,
    state = %(state)s,
    reached = %(reached)s,
    refusal_step = %(refusal_step)s,
    refusal_code = %(refusal_code)s,
    refusal_sentence = %(refusal_sentence)s,
    refusal_numbers = %(refusal_numbers)s,
    failure_step = %(failure_step)s,
    failure_error = %(failure_error)s,
    failure_retryable = %(failure_retryable)s,
    changed_at = clock_timestamp()
where case_id = %(case_id)s;

-- name: rekey(case_id, patient_id, issuer_of_patient_id)
-- Whose case it is from now on, by a person's word; the row is locked.
update staging_case set
    patient_id = %(patient_id)s,
    issuer_of_patient_id = %(issuer_of_patient_id)s,
    changed_at = clock_timestamp()
where case_id = %(case_id)s;

-- name: note_event(case_id, step, state, detail)
-- What happened, in the transaction in which it did.
insert into case_event (case_id, step, state, detail) values (%(case_id)s, %(step)s, %(state)s, %(detail)s);

-- name: events(case_id)
-- A case's events, oldest first.
select at, step, state, detail from case_event where case_id = %(case_id)s order by case_event_id;

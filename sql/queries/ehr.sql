-- name: lock()
-- One load at a time; the staging tables are its alone until its transaction ends.
select pg_advisory_xact_lock(hashtext('gtr_batch.ehr'));

-- name: clear()
-- Empty the staging tables, before and after.
truncate ehr_staging_patient, ehr_staging_biopsy, ehr_staging_tumour, ehr_staging_marker, ehr_staging_treatment,
    ehr_staging_metastasis, ehr_staging_surgery, ehr_staging_read, ehr_staging_key_slice;

-- name: known_patients(patient_ids)
-- Which of these patients are in patient.csv or were loaded earlier.
select patient_id from ehr_staging_patient where patient_id = any (%(patient_ids)s)
union
select patient_id from ehr_patient where patient_id = any (%(patient_ids)s);

-- name: note_load(files)
-- A load that was accepted.
insert into ehr_load (files) values (%(files)s);

-- name: check_treatment()
-- Treatments that end before they start.
select row_number from (
    select row_number() over (order by row_id) + 1 as row_number, started_on, ended_on from ehr_staging_treatment
) as staged
where ended_on < started_on
order by row_number;

-- name: check_surgery()
-- Pathology that is reported in part only.
select row_number from (
    select row_number() over (order by row_id) + 1 as row_number, reported_on, classification, t_category
    from ehr_staging_surgery
) as staged
where num_nulls(reported_on, classification, t_category) not in (0, 3)
order by row_number;

-- name: check_key_slice()
-- Key slices of no study.
select row_number from (
    select row_number() over (order by row_id) + 1 as row_number, study_uid, accession_number
    from ehr_staging_key_slice
) as staged
where study_uid is null and accession_number is null
order by row_number;

-- name: now()
-- The database's time.
select clock_timestamp() as at;

-- name: mark(since, codes)
-- Refusals for want of what the EHR says, of patients with rows that came or changed since: worth another look.
update staging_case as c set ehr_changed_at = clock_timestamp()
where c.state = 'refused' and c.refusal_code = any (%(codes)s) and c.patient_id in (
    select patient_id from (
        select patient_id, loaded_at from ehr_patient
        union all
        select patient_id, loaded_at from ehr_biopsy
        union all
        select patient_id, loaded_at from ehr_tumour
        union all
        select patient_id, loaded_at from ehr_marker
        union all
        select patient_id, loaded_at from ehr_treatment
        union all
        select patient_id, loaded_at from ehr_metastasis
        union all
        select patient_id, loaded_at from ehr_surgery
        union all
        select patient_id, loaded_at from ehr_read
        union all
        select patient_id, loaded_at from ehr_key_slice
    ) as landed (patient_id, loaded_at)
    where loaded_at >= %(since)s
)
returning c.study_uid;

-- name: staged()
-- The rows of an extract as they came; the header is row 1. What stands in braces follows from gtr_batch.db.extracts.
select row_number() over (order by row_id) + 1 as row_number, {columns}
from {staging}
order by row_id;

-- name: upsert()
-- Insert or update by key what differs, and count it. What stands in braces follows from gtr_batch.db.extracts.
with written as (
    insert into {landed} as landed ({columns})
    select {values}
    from {staging}
    order by row_id
    on conflict ({key}) do update set {changes}, loaded_at = excluded.loaded_at
    where ({before}) is distinct from ({after})
    returning (xmax = 0) as inserted
)
select count(*) filter (where inserted) as inserted, count(*) filter (where not inserted) as updated from written;

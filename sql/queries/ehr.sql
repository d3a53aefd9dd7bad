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

-- name: staged_patient()
-- The rows of patient.csv as they came; the header is row 1.
select
    row_number() over (order by row_id) + 1 as row_number, patient_id, sex, birth_date
from ehr_staging_patient
order by row_id;

-- name: upsert_patient()
-- Insert or update by key what differs, and count it.
with written as (
    insert into ehr_patient as landed (
        patient_id, sex, birth_date
    )
    select
        patient_id, sex, birth_date::date
    from ehr_staging_patient
    order by row_id
    on conflict (patient_id) do update set
        sex = excluded.sex,
        birth_date = excluded.birth_date,
        loaded_at = excluded.loaded_at
    where (
        landed.sex, landed.birth_date
    ) is distinct from (
        excluded.sex, excluded.birth_date
    )
    returning (xmax = 0) as inserted
)
select count(*) filter (where inserted) as inserted, count(*) filter (where not inserted) as updated from written;

-- name: staged_biopsy()
-- The rows of biopsy.csv as they came; the header is row 1.
select
    row_number() over (order by row_id) + 1 as row_number, patient_id, biopsy_date, site, adenocarcinoma, lauren,
    differentiation
from ehr_staging_biopsy
order by row_id;

-- name: upsert_biopsy()
-- Insert or update by key what differs, and count it.
with written as (
    insert into ehr_biopsy as landed (
        patient_id, biopsy_date, site, adenocarcinoma, lauren, differentiation
    )
    select
        patient_id, biopsy_date::date, site, adenocarcinoma = 'yes', lauren, differentiation
    from ehr_staging_biopsy
    order by row_id
    on conflict (patient_id, biopsy_date, site) do update set
        adenocarcinoma = excluded.adenocarcinoma,
        lauren = excluded.lauren,
        differentiation = excluded.differentiation,
        loaded_at = excluded.loaded_at
    where (
        landed.adenocarcinoma, landed.lauren, landed.differentiation
    ) is distinct from (
        excluded.adenocarcinoma, excluded.lauren, excluded.differentiation
    )
    returning (xmax = 0) as inserted
)
select count(*) filter (where inserted) as inserted, count(*) filter (where not inserted) as updated from written;

-- name: staged_tumour()
-- The rows of tumour.csv as they came; the header is row 1.
select
    row_number() over (order by row_id) + 1 as row_number, patient_id, measured_on, size_cm, location
from ehr_staging_tumour
order by row_id;

-- name: upsert_tumour()
-- Insert or update by key what differs, and count it.
with written as (
    insert into ehr_tumour as landed (
        patient_id, measured_on, size_cm, location
    )
    select
        patient_id, measured_on::date, size_cm::double precision, location
    from ehr_staging_tumour
    order by row_id
    on conflict (patient_id, measured_on) do update set
        size_cm = excluded.size_cm,
        location = excluded.location,
        loaded_at = excluded.loaded_at
    where (
        landed.size_cm, landed.location
    ) is distinct from (
        excluded.size_cm, excluded.location
    )
    returning (xmax = 0) as inserted
)
select count(*) filter (where inserted) as inserted, count(*) filter (where not inserted) as updated from written;

-- name: staged_marker()
-- The rows of marker.csv as they came; the header is row 1.
select
    row_number() over (order by row_id) + 1 as row_number, patient_id, sampled_on, cea_ng_ml, ca19_9_u_ml,
    ca72_4_u_ml, ca125_u_ml, afp_ng_ml, pd_l1_percent
from ehr_staging_marker
order by row_id;

-- name: upsert_marker()
-- Insert or update by key what differs, and count it.
with written as (
    insert into ehr_marker as landed (
        patient_id, sampled_on, cea_ng_ml, ca19_9_u_ml, ca72_4_u_ml, ca125_u_ml, afp_ng_ml, pd_l1_percent
    )
    select
        patient_id, sampled_on::date, cea_ng_ml::double precision, ca19_9_u_ml::double precision,
        ca72_4_u_ml::double precision, ca125_u_ml::double precision, afp_ng_ml::double precision,
        pd_l1_percent::double precision
    from ehr_staging_marker
    order by row_id
    on conflict (patient_id, sampled_on) do update set
        cea_ng_ml = excluded.cea_ng_ml,
        ca19_9_u_ml = excluded.ca19_9_u_ml,
        ca72_4_u_ml = excluded.ca72_4_u_ml,
        ca125_u_ml = excluded.ca125_u_ml,
        afp_ng_ml = excluded.afp_ng_ml,
        pd_l1_percent = excluded.pd_l1_percent,
        loaded_at = excluded.loaded_at
    where (
        landed.cea_ng_ml, landed.ca19_9_u_ml, landed.ca72_4_u_ml, landed.ca125_u_ml, landed.afp_ng_ml,
        landed.pd_l1_percent
    ) is distinct from (
        excluded.cea_ng_ml, excluded.ca19_9_u_ml, excluded.ca72_4_u_ml, excluded.ca125_u_ml, excluded.afp_ng_ml,
        excluded.pd_l1_percent
    )
    returning (xmax = 0) as inserted
)
select count(*) filter (where inserted) as inserted, count(*) filter (where not inserted) as updated from written;

-- name: staged_treatment()
-- The rows of treatment.csv as they came; the header is row 1.
select
    row_number() over (order by row_id) + 1 as row_number, patient_id, kind, started_on, ended_on
from ehr_staging_treatment
order by row_id;

-- name: upsert_treatment()
-- Insert or update by key what differs, and count it.
with written as (
    insert into ehr_treatment as landed (
        patient_id, kind, started_on, ended_on
    )
    select
        patient_id, kind, started_on::date, ended_on::date
    from ehr_staging_treatment
    order by row_id
    on conflict (patient_id, kind, started_on) do update set
        ended_on = excluded.ended_on,
        loaded_at = excluded.loaded_at
    where landed.ended_on is distinct from excluded.ended_on
    returning (xmax = 0) as inserted
)
select count(*) filter (where inserted) as inserted, count(*) filter (where not inserted) as updated from written;

-- name: staged_metastasis()
-- The rows of metastasis.csv as they came; the header is row 1.
select
    row_number() over (order by row_id) + 1 as row_number, patient_id, assessed_on, distant_metastasis
from ehr_staging_metastasis
order by row_id;

-- name: upsert_metastasis()
-- Insert or update by key what differs, and count it.
with written as (
    insert into ehr_metastasis as landed (
        patient_id, assessed_on, distant_metastasis
    )
    select
        patient_id, assessed_on::date, distant_metastasis = 'yes'
    from ehr_staging_metastasis
    order by row_id
    on conflict (patient_id, assessed_on) do update set
        distant_metastasis = excluded.distant_metastasis,
        loaded_at = excluded.loaded_at
    where landed.distant_metastasis is distinct from excluded.distant_metastasis
    returning (xmax = 0) as inserted
)
select count(*) filter (where inserted) as inserted, count(*) filter (where not inserted) as updated from written;

-- name: staged_surgery()
-- The rows of surgery.csv as they came; the header is row 1.
select
    row_number() over (order by row_id) + 1 as row_number, patient_id, operated_on, reported_on, classification,
    t_category
from ehr_staging_surgery
order by row_id;

-- name: upsert_surgery()
-- Insert or update by key what differs, and count it.
with written as (
    insert into ehr_surgery as landed (
        patient_id, operated_on, reported_on, classification, t_category
    )
    select
        patient_id, operated_on::date, reported_on::date, classification, t_category
    from ehr_staging_surgery
    order by row_id
    on conflict (patient_id, operated_on) do update set
        reported_on = excluded.reported_on,
        classification = excluded.classification,
        t_category = excluded.t_category,
        loaded_at = excluded.loaded_at
    where (
        landed.reported_on, landed.classification, landed.t_category
    ) is distinct from (
        excluded.reported_on, excluded.classification, excluded.t_category
    )
    returning (xmax = 0) as inserted
)
select count(*) filter (where inserted) as inserted, count(*) filter (where not inserted) as updated from written;

-- name: staged_read()
-- The rows of read.csv as they came; the header is row 1.
select
    row_number() over (order by row_id) + 1 as row_number, patient_id, study_uid, read_on, radiologist_ct,
    endosonographer_ut
from ehr_staging_read
order by row_id;

-- name: upsert_read()
-- Insert or update by key what differs, and count it.
with written as (
    insert into ehr_read as landed (
        patient_id, study_uid, read_on, radiologist_ct, endosonographer_ut
    )
    select
        patient_id, study_uid, read_on::date, radiologist_ct, endosonographer_ut
    from ehr_staging_read
    order by row_id
    on conflict (study_uid) do update set
        patient_id = excluded.patient_id,
        read_on = excluded.read_on,
        radiologist_ct = excluded.radiologist_ct,
        endosonographer_ut = excluded.endosonographer_ut,
        loaded_at = excluded.loaded_at
    where (
        landed.patient_id, landed.read_on, landed.radiologist_ct, landed.endosonographer_ut
    ) is distinct from (
        excluded.patient_id, excluded.read_on, excluded.radiologist_ct, excluded.endosonographer_ut
    )
    returning (xmax = 0) as inserted
)
select count(*) filter (where inserted) as inserted, count(*) filter (where not inserted) as updated from written;

-- name: staged_key_slice()
-- The rows of key_slice.csv as they came; the header is row 1.
select
    row_number() over (order by row_id) + 1 as row_number, patient_id, study_uid, accession_number, sop_instance_uid
from ehr_staging_key_slice
order by row_id;

-- name: upsert_key_slice()
-- Insert or update by key what differs, and count it.
with written as (
    insert into ehr_key_slice as landed (
        patient_id, study_uid, accession_number, sop_instance_uid
    )
    select
        patient_id, coalesce(study_uid, ''), coalesce(accession_number, ''), sop_instance_uid
    from ehr_staging_key_slice
    order by row_id
    on conflict (patient_id, study_uid, accession_number) do update set
        sop_instance_uid = excluded.sop_instance_uid,
        loaded_at = excluded.loaded_at
    where landed.sop_instance_uid is distinct from excluded.sop_instance_uid
    returning (xmax = 0) as inserted
)
select count(*) filter (where inserted) as inserted, count(*) filter (where not inserted) as updated from written;

-- name: patient(patient_id)
-- One patient.
select sex, birth_date from ehr_patient where patient_id = %(patient_id)s;

-- name: known(patient_ids)
-- Which of these patients there are.
select patient_id from ehr_patient where patient_id = any (%(patient_ids)s);

-- name: loaded_at()
-- When extracts were loaded last.
select max(loaded_at) as at from ehr_load;

-- name: biopsy(patient_id, on_date)
-- The stomach biopsy to go by: the latest on or before the study date that proved adenocarcinoma, else the latest.
-- A later biopsy that found none disproves nothing; it missed.
select biopsy_date, adenocarcinoma, lauren, differentiation
from ehr_biopsy
where patient_id = %(patient_id)s and site = 'stomach' and biopsy_date <= %(on_date)s
order by adenocarcinoma desc, biopsy_date desc
limit 1;

-- name: size(patient_id, on_date)
-- The latest tumour size on or before the study date, cm.
select size_cm
from ehr_tumour
where patient_id = %(patient_id)s and measured_on <= %(on_date)s and size_cm is not null
order by measured_on desc
limit 1;

-- name: treatments(patient_id, on_date)
-- Kinds of treatment that started before the study date.
select distinct kind from ehr_treatment where patient_id = %(patient_id)s and started_on < %(on_date)s;

-- name: operated(patient_id, on_date)
-- The latest operation of the stomach before the study date.
select operated_on
from ehr_surgery
where patient_id = %(patient_id)s and operated_on < %(on_date)s
order by operated_on desc
limit 1;

-- name: metastasis(patient_id, on_date)
-- The latest assessment of distant metastasis on or before the study date.
select distant_metastasis
from ehr_metastasis
where patient_id = %(patient_id)s and assessed_on <= %(on_date)s
order by assessed_on desc
limit 1;

-- name: study_read(patient_id, study_uid)
-- What radiologist and endosonographer said of this study.
select radiologist_ct, endosonographer_ut
from ehr_read
where patient_id = %(patient_id)s and study_uid = %(study_uid)s;

-- name: key_slice(patient_id, study_uid)
-- The referenced instance of this study: by its UID, else by its accession number as the case book knows it.
select k.sop_instance_uid
from ehr_key_slice as k
where k.patient_id = %(patient_id)s and (
    k.study_uid = %(study_uid)s
    or (
        k.study_uid = ''
        and k.accession_number in (
            select c.accession_number from staging_case as c
            where c.study_uid = %(study_uid)s and c.patient_id = %(patient_id)s
        )
    )
)
order by k.study_uid desc, k.loaded_at desc, k.accession_number desc
limit 1;

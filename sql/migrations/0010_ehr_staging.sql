-- Where COPY puts an extract as it is, all text, before it is looked at. Empty between loads: they are filled, checked and
-- emptied in the transaction of the load, so nothing of a refused extract stays. row_id keeps the order
-- of the rows.
create unlogged table ehr_staging_patient (
    row_id bigint generated always as identity, patient_id text, sex text, birth_date text
);
create unlogged table ehr_staging_biopsy (
    row_id bigint generated always as identity, patient_id text, biopsy_date text, site text,
    adenocarcinoma text, lauren text, differentiation text
);
create unlogged table ehr_staging_tumour (
    row_id bigint generated always as identity, patient_id text, measured_on text, size_cm text,
    location text
);
create unlogged table ehr_staging_marker (
    row_id bigint generated always as identity, patient_id text, sampled_on text, cea_ng_ml text,
    ca19_9_u_ml text, ca72_4_u_ml text, ca125_u_ml text, afp_ng_ml text, pd_l1_percent text
);
create unlogged table ehr_staging_treatment (
    row_id bigint generated always as identity, patient_id text, kind text, started_on text,
    ended_on text
);
create unlogged table ehr_staging_metastasis (
    row_id bigint generated always as identity, patient_id text, assessed_on text,
    distant_metastasis text
);
create unlogged table ehr_staging_surgery (
    row_id bigint generated always as identity, patient_id text, operated_on text, reported_on text,
    classification text, t_category text
);
create unlogged table ehr_staging_read (
    row_id bigint generated always as identity, patient_id text, study_uid text, read_on text,
    radiologist_ct text, endosonographer_ut text
);
create unlogged table ehr_staging_key_slice (
    row_id bigint generated always as identity, patient_id text, study_uid text,
    accession_number text, sop_instance_uid text
);

comment on table ehr_staging_patient is 'patient.csv as it came. Written by load_extracts.';
comment on table ehr_staging_biopsy is 'biopsy.csv as it came. Written by load_extracts.';
comment on table ehr_staging_tumour is 'tumour.csv as it came. Written by load_extracts.';
comment on table ehr_staging_marker is 'marker.csv as it came. Written by load_extracts.';
comment on table ehr_staging_treatment is 'treatment.csv as it came. Written by load_extracts.';
comment on table ehr_staging_metastasis is 'metastasis.csv as it came. Written by load_extracts.';
comment on table ehr_staging_surgery is 'surgery.csv as it came. Written by load_extracts.';
comment on table ehr_staging_read is 'read.csv as it came. Written by load_extracts.';
comment on table ehr_staging_key_slice is 'key_slice.csv as it came. Written by load_extracts.';

grant select, insert, truncate on ehr_staging_patient, ehr_staging_biopsy, ehr_staging_tumour, ehr_staging_marker,
    ehr_staging_treatment, ehr_staging_metastasis, ehr_staging_surgery, ehr_staging_read, ehr_staging_key_slice
    to gtr_app;

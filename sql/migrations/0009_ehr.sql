-- Landing tables of the EHR extracts, in the words of sql/README.md. Written by load_extracts (ehr_refresh) alone.
create domain t_category as text
    check (value in ('T0', 'Tis', 'T1', 'T1a', 'T1b', 'T2', 'T3', 'T4', 'T4a', 'T4b'));

create table ehr_patient (
    patient_id text primary key check (length(patient_id) between 1 and 64),
    sex        text not null check (sex in ('female', 'male', 'other', 'unknown')),
    birth_date date not null,
    loaded_at  timestamptz not null default clock_timestamp()
);
comment on table ehr_patient is 'Patients, without names. Written by load_extracts from patient.csv.';

create table ehr_biopsy (
    patient_id      text not null references ehr_patient,
    biopsy_date     date not null,
    site            text not null check (site in ('stomach', 'oesophagus', 'duodenum', 'other')),
    adenocarcinoma  boolean not null,
    lauren          text check (lauren in ('intestinal', 'diffuse', 'mixed')),
    differentiation text check (differentiation in ('well', 'moderate', 'poor')),
    loaded_at       timestamptz not null default clock_timestamp(),
    primary key (patient_id, biopsy_date, site)
);
comment on table ehr_biopsy is 'Biopsies and what pathology proved. Written by load_extracts from biopsy.csv.';

create table ehr_tumour (
    patient_id  text not null references ehr_patient,
    measured_on date not null,
    size_cm     double precision check (size_cm > 0 and size_cm <= 40),
    location    text check (location in ('lower', 'middle', 'upper')),
    loaded_at   timestamptz not null default clock_timestamp(),
    primary key (patient_id, measured_on)
);
comment on table ehr_tumour is
    'Largest tumour diameter and third of the stomach. Written by load_extracts from tumour.csv.';

create table ehr_marker (
    patient_id    text not null references ehr_patient,
    sampled_on    date not null,
    cea_ng_ml     double precision,
    ca19_9_u_ml   double precision,
    ca72_4_u_ml   double precision,
    ca125_u_ml    double precision,
    afp_ng_ml     double precision,
    pd_l1_percent double precision check (pd_l1_percent between 0 and 100),
    loaded_at     timestamptz not null default clock_timestamp(),
    primary key (patient_id, sampled_on)
);
comment on table ehr_marker is 'Serum tumour markers and PD-L1. Written by load_extracts from marker.csv.';

create table ehr_treatment (
    patient_id text not null references ehr_patient,
    kind       text not null check (kind in ('chemotherapy', 'radiotherapy')),
    started_on date not null,
    ended_on   date check (ended_on >= started_on),
    loaded_at  timestamptz not null default clock_timestamp(),
    primary key (patient_id, kind, started_on)
);
comment on table ehr_treatment is 'Chemotherapy and radiotherapy. Written by load_extracts from treatment.csv.';

create table ehr_metastasis (
    patient_id         text not null references ehr_patient,
    assessed_on        date not null,
    distant_metastasis boolean not null,
    loaded_at          timestamptz not null default clock_timestamp(),
    primary key (patient_id, assessed_on)
);
comment on table ehr_metastasis is
    'Assessments of distant metastasis. Written by load_extracts from metastasis.csv.';

create table ehr_surgery (
    patient_id     text not null references ehr_patient,
    operated_on    date not null,
    reported_on    date,
    classification text check (classification in ('pT', 'ypT')),
    t_category     t_category,
    t_stage        text generated always as (
        case when t_category in ('T0', 'Tis') then null else left(t_category, 2) end
    ) stored,
    loaded_at      timestamptz not null default clock_timestamp(),
    primary key (patient_id, operated_on),
    check (num_nulls(reported_on, classification, t_category) in (0, 3))
);
comment on table ehr_surgery is
    'Operations and their pathology; pT and ypT are never mixed. Written by load_extracts from surgery.csv.';
comment on column ehr_surgery.t_stage is 'T1 to T4, the sub-letter left out; null for T0 and Tis.';

create table ehr_read (
    study_uid          text primary key,
    patient_id         text not null references ehr_patient,
    read_on            date not null,
    radiologist_ct     t_category,
    endosonographer_ut t_category,
    loaded_at          timestamptz not null default clock_timestamp()
);
comment on table ehr_read is
    'The radiologist''s cT and the endosonographer''s uT of a study. Written by load_extracts from read.csv.';

create table ehr_key_slice (
    patient_id       text not null references ehr_patient,
    study_uid        text not null default '',
    accession_number text not null default '',
    sop_instance_uid text not null,
    loaded_at        timestamptz not null default clock_timestamp(),
    primary key (patient_id, study_uid, accession_number),
    check (study_uid <> '' or accession_number <> '')
);
comment on table ehr_key_slice is
    'The instance with the largest axial tumour cross-section. Written by load_extracts from key_slice.csv.';

create table ehr_load (
    ehr_load_id bigint generated always as identity primary key,
    loaded_at   timestamptz not null default clock_timestamp(),
    files       jsonb not null
);
comment on table ehr_load is
    'Every load that was accepted: per file its SHA-256 and the rows read, inserted, updated and unchanged. '
    'Written by load_extracts.';

create index on ehr_read (patient_id);

grant select, insert, update on ehr_patient, ehr_biopsy, ehr_tumour, ehr_marker, ehr_treatment, ehr_metastasis,
    ehr_surgery, ehr_read, ehr_key_slice to gtr_app;
grant select, insert on ehr_load to gtr_app;

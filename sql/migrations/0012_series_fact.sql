create table series_fact (
    case_id  uuid primary key references staging_case,
    facts    jsonb not null,
    noted_at timestamptz not null default clock_timestamp()
);
comment on table series_fact is
    'What validation measured of a series: scanner, kVp, kernel, thickness, geometry, HU, image quality; nothing of the '
    'patient. Outlives the pixels. Written by validate; read by cohort and audit.';

create table case_feature (
    case_id       uuid not null,
    model_version text not null,
    features      real[] not null,
    logits        real[] not null check (array_length(logits, 1) = 12),
    primary key (case_id, model_version),
    foreign key (case_id, model_version) references staging_result
);
comment on table case_feature is
    'Penultimate features of the key slice, and the logits of the three slices in the order below, key, above (T1..T4 '
    'each). Outlives the pixels. Written by stage; read by audit.';

grant select, insert, update on series_fact, case_feature to gtr_app;

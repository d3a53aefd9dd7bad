-- In the order of the path, so that states compare; refused and failed lie beside it.
create type case_state as enum (
    'found', 'retrieved', 'validated', 'preprocessed', 'staged', 'scored', 'reported', 'stored', 'committed',
    'refused', 'failed'
);

create table staging_case (
    case_id           uuid primary key,
    night             date not null references night,
    study_uid         text not null,
    series_uid        text not null default '',
    patient_id        text not null default '',
    accession_number  text not null default '',
    study_at          timestamp,
    expected_sop_uids text[] not null default '{}',
    state             case_state not null default 'found',
    reached           case_state not null default 'found',
    refusal_step      text,
    refusal_code      text,
    refusal_sentence  text,
    refusal_numbers   jsonb,
    failure_step      text,
    failure_error     text,
    failure_retryable boolean,
    found_at          timestamptz not null default clock_timestamp(),
    changed_at        timestamptz not null default clock_timestamp(),
    check (reached not in ('refused', 'failed')),
    check (state in ('refused', 'failed') or state = reached),
    check ((state = 'refused') = (refusal_code is not null)),
    check (num_nulls(refusal_step, refusal_code, refusal_sentence, refusal_numbers) in (0, 4)),
    check ((state = 'failed') = (failure_error is not null)),
    check (num_nulls(failure_step, failure_error, failure_retryable) in (0, 3))
);
comment on table staging_case is
    'One row a case: a CT series on its way through the house, or a study that intake refused whole. Written by every '
    'step through PostgresCaseBook, each change in one transaction with its case_event.';
comment on column staging_case.study_at is 'Study date and time on the wall clock of the PACS, which tells no zone.';
comment on column staging_case.reached is 'Last state on the path, also after a failure: a retry resumes here.';
comment on column staging_case.series_uid is 'Empty where intake refused the whole study.';

create index on staging_case (night);
create index on staging_case (study_uid);
create index on staging_case (series_uid);
create index on staging_case (accession_number);

grant select, insert, update on staging_case to gtr_app;

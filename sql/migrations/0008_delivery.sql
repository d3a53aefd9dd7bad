create table store_receipt (
    case_id           uuid not null references staging_case,
    sop_instance_uid  text not null,
    status            integer not null check (status between 0 and 65535),
    warning           text not null default '',
    first_received_at timestamptz not null default clock_timestamp(),
    last_received_at  timestamptz not null default clock_timestamp(),
    primary key (case_id, sop_instance_uid, status)
);
comment on table store_receipt is
    'The status that the PACS answered to a C-STORE, each different answer once. Written by deliver.';

create table storage_commitment (
    case_id         uuid not null references staging_case,
    transaction_uid text not null,
    offered         boolean not null,
    committed       text[] not null,
    failed          jsonb not null,
    read_back       text[] not null,
    received_at     timestamptz not null default clock_timestamp(),
    primary key (case_id, transaction_uid)
);
comment on table storage_commitment is
    'What the PACS committed (N-EVENT-REPORT), or what C-FIND listed where it offers no commitment. Written by deliver.';
comment on column storage_commitment.transaction_uid is 'Empty where the PACS offers no storage commitment.';
comment on column storage_commitment.failed is 'SOP Instance UID to Failure Reason (0008,1197).';

grant select, insert, update on store_receipt, storage_commitment to gtr_app;

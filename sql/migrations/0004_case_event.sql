create table case_event (
    case_event_id bigint generated always as identity primary key,
    case_id       uuid not null references staging_case,
    at            timestamptz not null default clock_timestamp(),
    step          text not null,
    state         case_state not null,
    detail        jsonb not null default '{}'
);
comment on table case_event is
    'What happened to a case, append-only: one row a change of state, in the transaction of that change. Read from the '
    'first to the last row they give the state of the case. Written by PostgresCaseBook.';

create index on case_event (case_id, case_event_id);

grant select, insert on case_event to gtr_app;

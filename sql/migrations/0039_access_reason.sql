-- Who looks at a patient by name says why.
alter table access_event add column why text not null default '' check (length(why) <= 2000);
comment on column access_event.why is 'The reason that was given, where one is asked for; no PatientID.';
create index on access_event (object_id);
grant insert (why) on access_event to gtr_app, gtr_governor;

-- What operations are told of a night by `gtr watch`: each event once, over each channel that the site has.
create table notice (
    notice_key text primary key check (length(notice_key) between 1 and 200),
    kind       text not null check (kind in ('red', 'late', 'not_started', 'stopped', 'resumed')),
    night      date,
    subject    text not null check (length(subject) between 1 and 200),
    body       text not null check (length(body) between 1 and 2000),
    raised_at  timestamptz not null default clock_timestamp()
);
comment on table notice is
    'One row an event that operations are told of: a red, late or stopped night, one that did not begin, the service stopped or '
    'resumed. Counts and dates, no case and no patient. Append-only. Written by gtr watch.';
create trigger notice_append_only before update or delete or truncate on notice
for each statement execute function append_only();

create table notice_delivery (
    notice_key   text not null references notice,
    channel      text not null check (channel in ('smtp', 'webhook')),
    tries        integer not null default 0 check (tries >= 0),
    error        text,
    tried_at     timestamptz,
    delivered_at timestamptz,
    primary key (notice_key, channel)
);
comment on table notice_delivery is
    'Whether a notice went out over a channel that the site had when it was raised; tried again until it has. Written by gtr watch.';
comment on column notice_delivery.error is 'Class of the last error, and its status; never a text of the other side.';
create index on notice_delivery (channel) where delivered_at is null;

create table watch_look (
    only_row  boolean primary key default true check (only_row),
    looked_at timestamptz not null
);
comment on table watch_look is 'When gtr watch looked last; doctor says where nobody looks any more. Written by gtr watch.';

grant select, insert on notice to gtr_app;
grant select, insert, update on notice_delivery, watch_look to gtr_app;

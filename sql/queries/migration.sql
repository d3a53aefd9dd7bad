-- name: lock()
-- One migration at a time, whoever runs it; let go when the session ends.
select pg_advisory_lock(hashtext('gtr_batch.migrate'));

-- name: book_exists()
-- Whether anything was ever migrated here.
select to_regclass('public.schema_migration') is not null as found;

-- name: make_book()
-- The list of applied migrations, with the digest each had.
create table if not exists schema_migration (
    number     integer primary key,
    name       text not null,
    sha256     text not null,
    applied_at timestamptz not null default clock_timestamp()
);
comment on table schema_migration is 'Which files of sql/migrations were applied. Written by gtr migrate.';

-- name: applied()
-- What was applied, oldest first.
select number, name, sha256 from schema_migration order by number;

-- name: become_owner()
-- Everything after the roles themselves belongs to gtr_owner.
set local role gtr_owner;

-- name: make_list_of_views()
-- The list of views, with the digest of the text that each was made from.
create table if not exists schema_view (
    name       text primary key,
    sha256     text not null,
    applied_at timestamptz not null default clock_timestamp()
);
comment on table schema_view is 'Which text of sql/views each view was made from. Written by gtr migrate.';
grant select on schema_view to gtr_app;

-- name: list_of_views_exists()
-- Whether any view was ever made from sql/views here.
select to_regclass('public.schema_view') is not null as found;

-- name: views()
-- What each view was made from.
select name, sha256 from schema_view order by name;

-- name: note_view(name, sha256)
-- Note a view, in the transaction that made it anew.
insert into schema_view (name, sha256) values (%(name)s, %(sha256)s)
on conflict (name) do update set sha256 = excluded.sha256, applied_at = clock_timestamp();

-- name: note(number, name, sha256)
-- Note an applied migration, in the transaction that applied it.
insert into schema_migration (number, name, sha256) values (%(number)s, %(name)s, %(sha256)s);

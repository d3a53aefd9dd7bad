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

-- name: note(number, name, sha256)
-- Note an applied migration, in the transaction that applied it.
insert into schema_migration (number, name, sha256) values (%(number)s, %(name)s, %(sha256)s);

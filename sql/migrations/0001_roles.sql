-- Three group roles that no one logs in as; a hospital grants them to its own login roles (sql/README.md).
-- Roles belong to the whole server, so they may be there already, or be made by another database's migration right now.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['gtr_owner', 'gtr_app', 'gtr_reader'] loop
        begin
            if not exists (select from pg_roles where rolname = wanted) then
                execute format('create role %I nologin', wanted);
            end if;
        exception when duplicate_object or unique_violation then
            null; -- made in this very moment by another session
        end;
    end loop;
    -- From here on everything is owned by gtr_owner, whoever migrates.
    begin
        execute format('grant gtr_owner to %I', current_user);
    exception when insufficient_privilege then
        null; -- an administrator has made the roles; then this login must be a member already
    end;
end
$$;

revoke create on schema public from public;
grant usage, create on schema public to gtr_owner;
grant usage on schema public to gtr_app, gtr_reader;

alter table schema_migration owner to gtr_owner;
grant select on schema_migration to gtr_app;

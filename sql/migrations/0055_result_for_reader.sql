-- A site may ask for a reader's own stage before the AI's is shown: how a result stands for a reader, said in one place.
create function result_for_reader(of_case uuid, of_result text, of_stage text, to_reader text, own_stage_first boolean)
returns text
language sql stable set search_path = pg_catalog, public
as $$
    select case
        when to_reader = '' or of_result is null then null
        when exists (
            select from public.reader_shown as s where s.case_id = of_case and s.result = of_result and s.reader = to_reader
        ) then 'noted'
        when own_stage_first and of_stage is not null and not exists (
            select from public.reader_own_stage as o
            where o.case_id = of_case and o.result = of_result and o.reader = to_reader
        ) then 'withheld'
        else 'new'
    end
$$;
comment on function result_for_reader is
    'noted: the reader was shown this result; withheld: the site asks for their own stage first, and they have given none; new: '
    'it may be shown, and that is noted first; null: no reader, or no result. Called by the console.';
revoke all on function result_for_reader(uuid, text, text, text, boolean) from public;
grant execute on function result_for_reader(uuid, text, text, text, boolean) to gtr_console;

-- Rebuilds the four views of any install so that a test can hold or fail the refresh of each.
-- {app} is the application's schema. Names are qualified: REFRESH has a search_path of its own from PostgreSQL 17.
create table {app}.stretch (
    view_name text primary key, seconds double precision not null default 0,
    sqlstate text not null default 'P0001', message text);

create function {app}.held(held_view text) returns boolean language plpgsql volatile as $held$
declare
    want {app}.stretch;
begin
    select s.* into want from {app}.stretch s where s.view_name = held_view;
    if want.seconds > 0 then
        perform pg_catalog.pg_sleep(want.seconds);
    end if;
    if want.message is not null then
        raise exception using errcode = want.sqlstate, message = want.message;
    end if;
    return true;
end
$held$;

do $rebuild$
declare
    each_view text;
    query text;
    indexes text[];
    description text;
    one text;
begin
    foreach each_view in array array[
        'action_metrics_hourly', 'trigger_performance_summary', 'recent_failures', 'action_type_distribution']
    loop
        select rtrim(pg_get_viewdef(c.oid), ';'), array(
            select pg_get_indexdef(x.indexrelid) from pg_index x where x.indrelid = c.oid),
            obj_description(c.oid, 'pg_class')
        into query, indexes, description
        from pg_class c where c.oid = to_regclass(format('%I.%I', {app_name}, each_view));
        execute format('drop materialized view %I.%I', {app_name}, each_view);
        execute format('create materialized view %I.%I as select q.* from (%s) q where (select %I.held(%L))',
            {app_name}, each_view, query, {app_name}, each_view);
        foreach one in array indexes loop
            execute one;
        end loop;
        if description is not null then
            execute format('comment on materialized view %I.%I is %L', {app_name}, each_view, description);
        end if;
    end loop;
end
$rebuild$;

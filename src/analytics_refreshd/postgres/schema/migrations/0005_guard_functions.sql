-- name: refresh_action_analytics_view
create or replace function {target}.refresh_action_analytics_view(
    inout view_name text,
    out refresh_duration_ms integer,
    out rows_refreshed bigint,
    out success boolean,
    out error_message text)
returns record
language plpgsql volatile {security} set search_path = pg_catalog, pg_temp
as $refresh$
declare
    app_schema constant text := {app_name};
    started constant timestamptz := clock_timestamp();
    refreshed_at timestamptz;
    lock_timeout_before text;
begin
    rows_refreshed := 0;
    success := false;
    if view_name is null or view_name <> all (array[
        'action_metrics_hourly', 'trigger_performance_summary', 'recent_failures', 'action_type_distribution'])
    then
        refresh_duration_ms := 0;
        error_message := '42704: not one of the four analytics views';
        view_name := left(view_name, 63);
        return;
    end if;

    begin
        execute format('refresh materialized view concurrently %I.%I', app_schema, view_name);
        success := true;
    exception when others or assert_failure then
        -- query_canceled is neither: a cancel or a statement timeout ends the call
        error_message := left(sqlstate || ': ' || sqlerrm, 1000);
    end;
    refreshed_at := clock_timestamp();
    refresh_duration_ms := least(greatest(
        round(extract(epoch from refreshed_at - started) * 1000), 0), 2147483647)::integer;
    if not success then
        return;
    end if;

    -- whatever goes wrong from here on, the refresh stands
    begin
        rows_refreshed := null;
        if exists (
            select from pg_class c where c.oid = to_regclass(format('%I.%I', app_schema, view_name)) and c.relkind = 'm')
        then
            execute format('select count(*) from %I.%I', app_schema, view_name) into rows_refreshed;
        end if;
    exception when others then
        raise warning 'cannot count the rows of %: %', view_name, sqlerrm;
    end;
    begin
        {record}
    exception when others then
        raise warning 'cannot record the refresh of %: %', view_name, sqlerrm;
    end;
end
$refresh$;

-- name: refresh_action_analytics
create or replace function {target}.refresh_action_analytics()
returns table (
    view_name text,
    refresh_duration_ms integer,
    rows_refreshed bigint,
    success boolean,
    error_message text)
language plpgsql volatile {security} rows 4 set search_path = pg_catalog, pg_temp
as $refresh$
declare
    each_view text;
begin
    -- a call by name: of what the owner of this function made, and of nothing else
    if 1 <> (
        select count(distinct f.proowner) from pg_proc f
        where f.oid in (
            to_regprocedure(format('%I.refresh_action_analytics()', {app_name})),
            to_regprocedure(format('%I.refresh_action_analytics_view(text)', {app_name}))))
    then
        raise exception using errcode = '42501',
            message = 'refresh_action_analytics_view belongs to another role: run analytics-refreshd migrate';
    end if;
    foreach each_view in array array[
        'action_metrics_hourly', 'trigger_performance_summary', 'recent_failures', 'action_type_distribution']
    loop
        return query select v.* from {app}.refresh_action_analytics_view(each_view) v;
    end loop;
end
$refresh$;

-- name: get_analytics_refresh_status
-- definer where it reads our table: whoever may ask for the status needs no rights on that
create or replace function {target}.get_analytics_refresh_status()
returns table (
    view_name text,
    row_count bigint,
    size_bytes bigint,
    last_refresh timestamptz,
    age_minutes integer)
language plpgsql stable {status_security} rows 4 set search_path = pg_catalog, pg_temp
as $status$
begin
    {recorded_status}
    return query
    select e.name, nullif(c.reltuples, -1)::bigint, pg_total_relation_size(c.oid),
        null::timestamptz, null::integer
    from unnest(array['action_metrics_hourly', 'trigger_performance_summary', 'recent_failures',
        'action_type_distribution']) with ordinality as e (name, place)
    left join pg_class c on c.oid = to_regclass(format('%I.%I', {app_name}, e.name)) and c.relkind = 'm'
    order by e.place;
end
$status$;

-- name: record
-- what bears our schema's name is ours only where it belongs to whom this function, or action_results, belongs to
if exists (
    select from pg_namespace n
    join pg_class c on c.relnamespace = n.oid and c.relname = 'last_refresh'
    where n.nspname = 'analytics_refresh' and c.relkind = 'r' and c.relowner = n.nspowner
        and n.nspowner in (
            select f.proowner from pg_proc f
            where f.oid = to_regprocedure(format('%I.refresh_action_analytics_view(text)', app_schema))
            union all
            select r.relowner from pg_class r where r.oid = to_regclass(format('%I.action_results', app_schema)))
        -- 10: the superuser that the cluster began with, who owns the triggers of foreign keys
        and not exists (
            select from pg_trigger g join pg_proc f on f.oid = g.tgfoid
            where g.tgrelid = c.oid and f.proowner not in (n.nspowner, 10)))
then
    lock_timeout_before := current_setting('lock_timeout');
    perform set_config('lock_timeout', '500ms', true);
    insert into analytics_refresh.last_refresh as l
        (view_name, last_success_at, last_checked_at, duration_ms, rows_refreshed)
    values (refresh_action_analytics_view.view_name, refreshed_at, refreshed_at,
        refresh_action_analytics_view.refresh_duration_ms, refresh_action_analytics_view.rows_refreshed)
    on conflict on constraint last_refresh_pkey do update set
        last_success_at = excluded.last_success_at,
        last_checked_at = excluded.last_checked_at,
        duration_ms = excluded.duration_ms,
        rows_refreshed = excluded.rows_refreshed;
    perform set_config('lock_timeout', lock_timeout_before, true);
end if;

-- name: recorded_status
-- another role's schema of that name, or its view in place of the table, would run its code with this owner's rights
if exists (
    select from pg_namespace n
    join pg_class c on c.relnamespace = n.oid and c.relname = 'last_refresh'
    where n.nspname = 'analytics_refresh' and pg_get_userbyid(n.nspowner) = current_user
        and c.relkind = 'r' and c.relowner = n.nspowner)
then
    return query
    select e.name, l.rows_refreshed, pg_total_relation_size(c.oid), t.fresh_at,
        -- to the nearest minute: cut off, 10 min 59 s would read as 10
        least(round(greatest(extract(epoch from clock_timestamp() - t.fresh_at), 0) / 60),
            2147483647)::integer
    from unnest(array['action_metrics_hourly', 'trigger_performance_summary', 'recent_failures',
        'action_type_distribution']) with ordinality as e (name, place)
    left join pg_class c on c.oid = to_regclass(format('%I.%I', {app_name}, e.name)) and c.relkind = 'm'
    left join analytics_refresh.last_refresh l on l.view_name = e.name and c.relispopulated
    -- incremental mode leaves a view alone that cannot have changed: found to hold everything is as fresh as refreshed
    cross join lateral (select greatest(l.last_success_at, l.last_checked_at) as fresh_at) t
    order by e.place;
    return;
end if;

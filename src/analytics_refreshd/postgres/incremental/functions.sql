-- The refresh functions over the rollups: the same signatures, a fold before, and no REFRESH of what cannot have changed.

-- name: helpers
-- NULL: the view cannot have changed since its last refresh
create or replace function analytics_refresh.view_due(view text) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $view_due$
declare
    version_now bigint;
    version_then bigint;
    recorded boolean;
    lock_timeout_before text;
begin
    {refuse_unsound_due};
    -- a rebuild empties the rollups for every snapshot, also for that of a refresh under way: whoever refreshes from them
    -- keeps it waiting, and waits for it
    if view <> 'recent_failures' then
        perform from analytics_refresh.incremental for key share;
    end if;
    if view <> 'recent_failures' and not (select i.built from analytics_refresh.incremental i) then
        raise exception using errcode = '55000', message = 'the rollups are being rebuilt';
    end if;
    select c.version, r.version into version_now, version_then
    from analytics_refresh.view_changes c
    left join analytics_refresh.view_refreshes r on r.view_name = c.view_name
    where c.view_name = view;
    -- a lock on the record keeps no view from being refreshed
    begin
        lock_timeout_before := current_setting('lock_timeout');
        perform set_config('lock_timeout', '50ms', true);
        recorded := exists (select from analytics_refresh.last_refresh l where l.view_name = view);
        perform set_config('lock_timeout', lock_timeout_before, true);
    exception when lock_not_available then
        recorded := false;
    end;
    -- a view that was dropped or emptied is refreshed too, so that its error shows
    if version_now is distinct from version_then
        or not recorded
        or not exists (select from pg_class c
            where c.oid = to_regclass(format('%I.%I', {app_name}, view)) and c.relispopulated)
    then
        return version_now;
    end if;
    -- failures leave by time alone
    if view = 'recent_failures' then
        -- another role's view is not read with this one's rights, and refreshed each time
        if not exists (
            select from pg_class c
            where c.oid = to_regclass(format('%I.%I', {app_name}, view)) and c.relkind = 'm'
                and pg_get_userbyid(c.relowner) = current_user)
        then
            return version_now;
        end if;
        -- not one condition: naming an unpopulated view in it would fail the other views as well
        if exists (select from {app}.recent_failures f where f.executed_at < now() - interval '24 hours') then
            return version_now;
        end if;
    end if;
    return null;
end
$view_due$;

-- whoever refreshed the view in this transaction holds its lock; nobody else can say that it was refreshed
create or replace function analytics_refresh.view_refreshed(view text, refreshed_version bigint) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $view_refreshed$
begin
    {refuse_unsound_refreshed};
    update analytics_refresh.view_refreshes r
    -- never ahead: what changes next must count
    set version = least(refreshed_version, (
        select c.version from analytics_refresh.view_changes c where c.view_name = view))
    where r.view_name = view and exists (
        select from pg_locks l
        where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.mode = 'ExclusiveLock' and l.granted
          and l.relation = to_regclass(format('%I.%I', {app_name}, view)));
end
$view_refreshed$;

create or replace function analytics_refresh.view_checked(view text) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $view_checked$
declare
    counted bigint;
begin
    {refuse_unsound_due};
    if analytics_refresh.view_due(view) is null then
        -- what came after the last fold is in no rollup yet
        update analytics_refresh.last_refresh l set last_checked_at = case when view = 'recent_failures' then clock_timestamp()
            else coalesce((select i.folded_at from analytics_refresh.incremental i), l.last_checked_at) end
        where l.view_name = view
        returning l.rows_refreshed into counted;
    end if;
    return counted;
end
$view_checked$;
revoke execute on function analytics_refresh.view_due(text), analytics_refresh.view_refreshed(text, bigint),
    analytics_refresh.view_checked(text) from public;
comment on function analytics_refresh.view_due(text) is
    'Version to refresh the view to, or null where its last refresh still holds everything.';
comment on function analytics_refresh.view_refreshed(text, bigint) is 'Records up to which version a view was refreshed.';
comment on function analytics_refresh.view_checked(text) is
    'Records that a view was found to hold everything, and says how many rows it has.';

-- name: rows
-- What a view over rollups holds after a fold. A caller that folded for several views sets analytics_refresh.fold to "off". A
-- refresh holds its view's lock by now, for which another that folded may wait: so this one gives up soon, before the two
-- are a deadlock, and says so.
create or replace function analytics_refresh.{function}()
returns table (
    {columns})
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set jit = off set lock_timeout = '500ms'
as $rows$
#variable_conflict use_column
declare
    fold constant text := coalesce(nullif(current_setting('analytics_refresh.fold', true), ''), 'on');
begin
    {refuse_unsound};
    if fold not in ('on', 'off') then
        raise exception using errcode = '55000', message = 'the fold before this refresh failed: ' || fold;
    end if;
    if fold = 'on' then
        begin
            perform analytics_refresh.fold();
        exception when lock_not_available then
            raise exception using errcode = '55P03', message =
                'another session is refreshing: run this again, or use refresh_action_analytics()';
        end;
    end if;
    return query
    {query};
end
$rows$;
revoke execute on function analytics_refresh.{function}() from public;
comment on function analytics_refresh.{function}() is {comment};

-- name: refresh_action_analytics_view
create or replace function {target}.refresh_action_analytics_view(
    inout view_name text,
    out refresh_duration_ms integer,
    out rows_refreshed bigint,
    out success boolean,
    out error_message text)
returns record
language plpgsql volatile {security}
-- REFRESH CONCURRENTLY analyzes and compares a copy: a small sample is enough for its join, and its sort fits
set search_path = pg_catalog, pg_temp set jit = off set work_mem = '64MB' set default_statistics_target = 5
as $refresh$
declare
    app_schema constant text := {app_name};
    started constant timestamptz := clock_timestamp();
    refreshed_at timestamptz;
    lock_timeout_before text;
    fold_before constant text := coalesce(current_setting('analytics_refresh.fold', true), '');
    fold constant text := coalesce(nullif(fold_before, ''), 'on');
    version bigint;
    folded boolean;
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
        {refuse_untrusted};
        {refuse_hidden};
        if fold = 'on' then
            perform analytics_refresh.fold();
        elsif fold <> 'off' and view_name <> 'recent_failures' then
            error_message := fold;
        end if;
        if error_message is null then
            -- without a fold nobody knows whether failures came
            folded := fold in ('on', 'off');
            version := case when folded then analytics_refresh.view_due(view_name) else 0 end;
            if version is not null then
                -- folded already
                perform set_config('analytics_refresh.fold', 'off', true);
                execute format('refresh materialized view concurrently %I.%I', app_schema, view_name);
                perform set_config('analytics_refresh.fold', fold_before, true);
                if folded then
                    perform analytics_refresh.view_refreshed(view_name, version);
                end if;
            end if;
            success := true;
        end if;
    exception when others or assert_failure then
        -- query_canceled is neither: a cancel or a statement timeout ends the call
        error_message := left(sqlstate || ': ' || sqlerrm, 1000);
    end;
    refreshed_at := clock_timestamp();
    refresh_duration_ms := least(greatest(
        round(extract(epoch from refreshed_at - started) * 1000), 0), 2147483647)::integer;
    if not success then
        begin
            {refuse_untrusted};
            perform analytics_refresh.note_obstacles();
        exception when others then
            raise warning 'cannot note why changes may be missed: %', sqlerrm;
        end;
        return;
    end if;

    -- whatever goes wrong from here on, the refresh stands
    begin
        rows_refreshed := null;
        -- a view of the rollups is as fresh as the fold that another transaction, or another view's refresh, came after
        if view_name <> 'recent_failures' then
            refreshed_at := least(refreshed_at, (select i.folded_at from analytics_refresh.incremental i));
        end if;
        if version is null then
            lock_timeout_before := current_setting('lock_timeout');
            perform set_config('lock_timeout', '500ms', true);
            rows_refreshed := analytics_refresh.view_checked(view_name);
            perform set_config('lock_timeout', lock_timeout_before, true);
            return;
        end if;
        execute format('select count(*) from %I.%I', app_schema, view_name) into rows_refreshed;
    exception when others then
        raise warning 'cannot count the rows of %: %', view_name, sqlerrm;
        if version is null then
            return;
        end if;
    end;
    begin
        if to_regclass('analytics_refresh.last_refresh') is not null then
            -- found sound above, before it was used
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
    fold_before constant text := coalesce(current_setting('analytics_refresh.fold', true), '');
begin
    begin
        {refuse_untrusted};
        perform analytics_refresh.fold();
        perform set_config('analytics_refresh.fold', 'off', true);
    exception when others or assert_failure then
        perform set_config('analytics_refresh.fold', left(sqlstate || ': ' || sqlerrm, 1000), true);
    end;
    foreach each_view in array array[
        'action_metrics_hourly', 'trigger_performance_summary', 'recent_failures', 'action_type_distribution']
    loop
        return query select v.* from {app}.refresh_action_analytics_view(each_view) v;
    end loop;
    perform set_config('analytics_refresh.fold', fold_before, true);
end
$refresh$;

-- name: caller_grants
-- whoever could refresh without rights on our schema still can, and sees the state; whoever verified still can
do $grants$
declare
    each record;
begin
    for each in
        select pg_get_userbyid(a.grantee) as role, bool_or(a.refreshes) as refreshes, bool_or(a.maintains) as maintains
        from (
            select (aclexplode(p.proacl)).grantee, true as refreshes, false as maintains from pg_proc p
            where p.pronamespace = (select s.oid from pg_namespace s where s.nspname = {app_name})
              and p.proname in ('refresh_action_analytics', 'refresh_action_analytics_view')
            union all
            select a.grantee, true, a.grantee <> v.relowner from pg_class v, aclexplode(v.relacl) a
            where v.relnamespace = (select s.oid from pg_namespace s where s.nspname = {app_name}) and v.relkind = 'm' and a.privilege_type = 'MAINTAIN'
              and v.relname in ('action_metrics_hourly', 'trigger_performance_summary', 'recent_failures',
                  'action_type_distribution')
            union all
            select v.relowner, true, false from pg_class v
            where v.relnamespace = (select s.oid from pg_namespace s where s.nspname = {app_name}) and v.relkind = 'm'
              and v.relname in ('action_metrics_hourly', 'trigger_performance_summary', 'recent_failures',
                  'action_type_distribution')
            union all
            select a.grantee, false, false from pg_class c, aclexplode(c.relacl) a
            where c.oid = 'analytics_refresh.incremental'::regclass) a
        where a.grantee <> 0
        group by a.grantee
    loop
        if each.refreshes then
            execute format('grant usage on schema analytics_refresh to %I', each.role);
            execute format('grant select on analytics_refresh.incremental, analytics_refresh.deltas, '
                'analytics_refresh.rebuild_marks to %I', each.role);
            execute format('grant execute on function analytics_refresh.rebuild_step(integer), '
                'analytics_refresh.view_due(text), analytics_refresh.view_refreshed(text, bigint), '
                'analytics_refresh.view_checked(text), analytics_refresh.note_obstacles() to %I', each.role);
        end if;
        if each.maintains then
            execute format('grant execute on function %I.refresh_action_analytics_view(text) to %I', {app_name}, each.role);
        end if;
        execute format('grant execute on function analytics_refresh.fold(), analytics_refresh.capture_now(), '
            'analytics_refresh.obstacles() to %I', each.role);
    end loop;
end
$grants$;

-- name: grant_to
-- executes `grants` for each of the roles, whose name is its %1$I
do $grants$
declare
    grantee name;
begin
    for grantee in
        {roles}
    loop
        execute format({grants}, grantee);
    end loop;
end
$grants$;

-- name: hashes
-- what decides what a function does, and survives a dump
select n.nspname || '.' || p.proname || '(' || pg_catalog.oidvectortypes(p.proargtypes) || ')' as name,
    pg_catalog.md5(pg_catalog.concat_ws(' ', p.prosecdef, pg_catalog.array_to_string(p.proconfig, ','), p.prosrc)) as hash
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'analytics_refresh' or n.nspname = {app_name} and (
    (p.proname, p.pronargs) in (('refresh_action_analytics', 0), ('refresh_action_analytics_view', 1)))

-- name: record_functions
update analytics_refresh.incremental set functions = (select jsonb_object_agg(h.name, h.hash) from ({hashes}) h);

-- name: foreign_functions
-- installed functions that are gone or others now; before they were recorded, those that fold nothing
select r.name
from analytics_refresh.incremental i
cross join lateral jsonb_each_text(to_jsonb(i) -> 'functions') r (name, hash)
left join ({hashes}) h on h.name = r.name
where h.hash is distinct from r.hash
union
select n.nspname || '.' || p.proname || '(' || oidvectortypes(p.proargtypes) || ')'
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
where n.nspname = {app_name} and position('analytics_refresh.fold(' in p.prosrc) = 0
    and (p.proname, p.pronargs) in (('refresh_action_analytics', 0), ('refresh_action_analytics_view', 1))
order by 1;

-- name: drop
drop function if exists analytics_refresh.action_metrics_hourly_rows(),
    analytics_refresh.trigger_performance_summary_rows(), analytics_refresh.action_type_distribution_rows(),
    analytics_refresh.view_checked(text), analytics_refresh.view_refreshed(text, bigint),
    analytics_refresh.view_due(text);

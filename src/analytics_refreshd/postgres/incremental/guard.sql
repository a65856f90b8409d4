-- What a function that acts as its owner asks before it uses what bears our names: whose code would run with its rights.

-- name: sound
-- 10: the superuser that the cluster began with, who owns the triggers of foreign keys
exists (
    select from pg_namespace n
    where n.nspname = 'analytics_refresh' and pg_get_userbyid(n.nspowner) = current_user
        and not exists (
            select from pg_class c
            where c.relnamespace = n.oid and c.relname in ({relations}) and (
                c.relowner <> n.nspowner or c.relkind <> case c.relname when 'cells' then 'S' else 'r' end
                or exists (
                    select from pg_trigger g join pg_proc f on f.oid = g.tgfoid
                    where g.tgrelid = c.oid and f.proowner not in (n.nspowner, 10))))
        and not exists (
            select from pg_proc f
            where f.pronamespace = n.oid and f.proname in ({functions}) and f.proowner <> n.nspowner))

-- name: refuse_unsound
if not {sound} then
    raise exception using errcode = '42501', message = 'schema analytics_refresh or something in it does not belong to '
        || current_user || ', as which this function acts: run analytics-refreshd check';
end if

-- name: refuse_untrusted
-- acts as its caller from PostgreSQL 17, and before that as the views' owner, who may be another than the tables'
if not exists (
    select from pg_namespace n
    where n.nspname = 'analytics_refresh'
        and n.nspowner in (
            select f.proowner from pg_proc f
            where f.oid = to_regprocedure(format('%I.refresh_action_analytics_view(text)', {app_name}))
            union all
            select r.relowner from pg_class r where r.oid = to_regclass({app_table}))
        and not exists (
            select from pg_class c
            where c.relnamespace = n.oid and c.relname in ('last_refresh', 'incremental') and (
                c.relowner <> n.nspowner or c.relkind <> 'r'
                or exists (
                    select from pg_trigger g join pg_proc f on f.oid = g.tgfoid
                    where g.tgrelid = c.oid and f.proowner not in (n.nspowner, 10))))
        and not exists (
            select from pg_proc f
            where f.pronamespace = n.oid and f.proowner <> n.nspowner
                and f.proname in ('fold', 'view_due', 'view_refreshed', 'view_checked', 'note_obstacles')))
then
    raise exception using errcode = '42501', message =
        'schema analytics_refresh or something in it belongs to a role that is not trusted here: run analytics-refreshd check';
end if

-- name: refuse_hidden
-- a view that reads the table shows what its owner sees of it
if view_name = 'recent_failures' and exists (
    select from pg_class t, pg_class v join pg_roles o on o.oid = v.relowner
    where t.oid = to_regclass({app_table}) and v.oid = to_regclass(format('%I.%I', {app_name}, 'recent_failures'))
        and t.relrowsecurity and not o.rolsuper and not o.rolbypassrls
        and (t.relforcerowsecurity or not pg_has_role(v.relowner, t.relowner, 'usage')))
then
    raise exception using errcode = '55000', message =
        'row security hides rows of action_results from the owner of recent_failures: run analytics-refreshd check';
end if

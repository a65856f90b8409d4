-- name: refresh-status
-- section: system health
-- endpoint: meta/refresh-status
-- purpose: How fresh are the views? Their sizes tell of every tenant, so there is no limit to organizations.
-- organizations: no
-- column: view_name text; The view
-- column: row_count count; Its rows
-- column: size_bytes bytes; Its size with indexes
-- column: last_refresh timestamp; Last success as the database knows it; empty where it does not
-- column: age_seconds seconds; Seconds since then
-- column: age_minutes number; The same in minutes
-- fields: view_name, row_count, size_bytes, last_refresh, age_minutes
select s.view_name, s.row_count, s.size_bytes, s.last_refresh,
       case when pg_catalog.isfinite(s.last_refresh) then pg_catalog.round(
           extract(epoch from %(now)s::timestamptz operator(pg_catalog.-) s.last_refresh), 3) end as age_seconds,
       case when pg_catalog.isfinite(s.last_refresh) then pg_catalog.round(
           extract(epoch from %(now)s::timestamptz operator(pg_catalog.-) s.last_refresh)
               operator(pg_catalog./) 60, 2) end as age_minutes
  from {app}.get_analytics_refresh_status() as s
 order by s.view_name collate "C"

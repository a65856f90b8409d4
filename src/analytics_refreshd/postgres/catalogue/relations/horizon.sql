-- Whether days are frozen with their organizations in this database, and until when.

-- name: readable
-- one row where there are days: whether this role may read all that is asked here
select has_schema_privilege(n.oid, 'usage') and bool_and(has_any_column_privilege(c.oid, 'select'))
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'analytics_refresh' and c.relkind = 'r' and c.relname in ('frozen_days', 'frozen_series', 'incremental')
group by n.oid having count(*) = 3;

-- name: horizon
select i.frozen_until, nullif(i.days_since, '-infinity') from analytics_refresh.incremental i
where isfinite(i.frozen_until);

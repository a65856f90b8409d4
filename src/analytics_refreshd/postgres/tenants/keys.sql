-- API keys: for `keys`, as a role that owns the table; and for the API, by the functions that its role may call.

-- name: installed
select to_regclass('analytics_refresh.api_keys') is not null as installed;

-- name: create
insert into analytics_refresh.api_keys (key_id, key_hash, name, organizations, role, plan, operator, expires_at)
values (%(key_id)s, %(key_hash)s, %(name)s, %(organizations)s, %(role)s, %(plan)s, %(operator)s, %(expires_at)s)
returning key_id, name, organizations, role, plan, operator, created_at, created_by, expires_at, revoked_at, last_used_at;

-- name: list
select key_id, name, organizations, role, plan, operator, created_at, created_by, expires_at, revoked_at, last_used_at
from analytics_refresh.api_keys
order by created_at, key_id collate "C";

-- name: revoke
-- one that is revoked stays so since then
update analytics_refresh.api_keys
set revoked_at = coalesce(revoked_at, clock_timestamp()), revoked_by = coalesce(revoked_by, session_user)
where key_id = %(key_id)s
returning key_id, name, organizations, role, plan, operator, created_at, created_by, expires_at, revoked_at, last_used_at;

-- name: find
select key_id, name, organizations, role, plan, operator, created_at, created_by, expires_at, revoked_at, last_used_at
from analytics_api.find_key(%(key_hash)s);

-- name: note_use
-- nothing on a server that takes no writes: a standby does not know the last use
select analytics_api.note_use(%(key_hash)s) where pg_catalog.current_setting('transaction_read_only') = 'off';

-- name: serves
-- reads nothing: whether the schema is there, and this role may use it
select exists (
    select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'analytics_api' and p.proname = 'find_key' and p.pronargs = 1
        and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_function_privilege(p.oid, 'execute'));

-- name: untrusted
select exists (select from pg_catalog.pg_namespace n where n.nspname = 'analytics_api' and not ({trusted}));

-- name: set_required
-- set_config takes values as parameters, which SET does not, and returns each value as the server shows it. Before it
-- has run, the role's own search_path finds names; so each function and type has its schema. Of unnest with several
-- arguments the parser knows the schema itself
select s.name, pg_catalog.set_config(s.name, s.value, false) as value
from unnest(%(names)s::pg_catalog.text[], %(values)s::pg_catalog.text[]) as s (name, value)
where pg_catalog.current_setting(s.name, true) is not null;

-- name: set_optional
select pg_catalog.set_config(%(name)s, %(value)s, false);

-- name: read_back
-- the same settings in another transaction: they differ where a pooler gave this one another session. pg_settings
-- would need temporary space
select s.name, pg_catalog.current_setting(s.name, true) as value
from pg_catalog.unnest(%(names)s::pg_catalog.text[]) as s (name);

-- name: limit_transaction
-- search_path too: a function of an older install may have set it for the session
select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
    pg_catalog.set_config('statement_timeout', %(statement_timeout)s, true),
    pg_catalog.set_config('lock_timeout', %(lock_timeout)s, true);

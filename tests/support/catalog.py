"""Everything that pg_dump would say about a schema, as text to compare."""

from typing import Any

import psycopg

_SNAPSHOT = """
select 'relation', c.oid::regclass::text, concat_ws(' ', c.relkind::text, pg_get_userbyid(c.relowner), c.relacl::text,
    c.relispopulated::text, obj_description(c.oid, 'pg_class'),
    case when c.relkind in ('m', 'v') then pg_get_viewdef(c.oid) when c.relkind = 'i' then pg_get_indexdef(c.oid) end)
from pg_class c where c.relnamespace = any(%(schemas)s::oid[]) and c.relkind <> 't'
union all
select 'column', format('%%s.%%s', a.attrelid::regclass, a.attnum), concat_ws(' ', a.attname::text,
    format_type(a.atttypid, a.atttypmod), a.attnotnull::text, a.attidentity::text, a.attacl::text,
    pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum))
from pg_attribute a join pg_class c on c.oid = a.attrelid
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where c.relnamespace = any(%(schemas)s::oid[]) and a.attnum > 0 and c.relkind in ('r', 'm', 'v')
union all
select 'function', p.oid::regprocedure::text, concat_ws(' ', pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner),
    p.proacl::text, obj_description(p.oid, 'pg_proc'))
from pg_proc p where p.pronamespace = any(%(schemas)s::oid[])
union all
select 'constraint', format('%%s.%%s', k.conrelid::regclass, k.conname), pg_get_constraintdef(k.oid)
from pg_constraint k where k.connamespace = any(%(schemas)s::oid[]) and k.contype <> 'n'
union all
select 'schema', n.nspname, concat_ws(' ', n.nspacl::text, obj_description(n.oid, 'pg_namespace'))
from pg_namespace n where n.oid = any(%(schemas)s::oid[])
order by 1, 2
"""


def snapshot(connection: psycopg.Connection[Any], *schemas: str) -> dict[tuple[str, str], str]:
    """Each object's definition, owner, grants and comment in the schemas, by kind and name."""
    found = connection.execute("select array_agg(oid) from pg_namespace where nspname = any(%s)", (list(schemas),))
    row = found.fetchone()
    present = (row and row[0]) or []
    return {(kind, name): text for kind, name, text in connection.execute(_SNAPSHOT, {"schemas": present}).fetchall()}

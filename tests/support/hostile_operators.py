"""Operators and functions that fit what our statements compare and call better than pg_catalog's do."""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]
_DEPLOYED = Path(__file__).parents[2] / "deploy" / "sql"
_OPERATOR = re.compile(r"[-+*/<>=~!@#%^&|]+")
_CALL = re.compile(r"\b([a-z_][a-z0-9_]*)\s*\(")

# what the statements' operands can be: columns of the catalogues and of the tables, and what literals and casts make
_TYPES = """
create temporary table types as
select distinct t.oid as type, t.oid::regtype::text as name, t.typcategory as category
from pg_catalog.pg_type t
where t.oid in (
    select a.atttypid from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where a.attnum > 0 and (n.nspname in ('pg_catalog', 'analytics_refresh')
        or c.relname in ('action_results', 'triggers', 'organizations', 'users')))
    and t.typtype = 'b' and t.typcategory not in ('P', 'Z')
union
select t.oid, t.oid::regtype::text, t.typcategory from pg_catalog.pg_type t
where t.oid = any (array['text', 'varchar', 'bpchar', 'name', '"char"', 'int2', 'int4', 'int8', 'numeric', 'float4',
    'float8', 'bool', 'oid', 'regclass', 'regtype', 'regproc', 'regprocedure', 'regnamespace', 'regrole', 'xid', 'xid8',
    'date', 'time', 'timestamp', 'timestamptz', 'interval', 'uuid', 'json', 'jsonb', 'text[]', 'int4[]', 'int8[]',
    'oid[]', 'name[]', '"char"[]', 'float8[]', 'bool[]', 'oidvector', 'int2vector', 'pg_snapshot', 'bytea']::regtype[]);
create temporary table fits as
select castsource as given, casttarget as wanted from pg_catalog.pg_cast where castcontext = 'i'
    and castsource in (select type from types)
union
select type, type from types
union
-- of the types that stand for many, pg_catalog takes what no other operator fits
select t.type, w.wanted::oid from types t cross join unnest(array['anyelement', 'anynonarray', 'anycompatible', '"any"',
    'anycompatiblenonarray']::regtype[]) as w (wanted)
    where t.category <> 'A' or w.wanted in ('anyelement'::regtype, 'anycompatible'::regtype, '"any"'::regtype)
union
select t.type, w.wanted::oid from types t
    cross join unnest(array['anyarray', 'anycompatiblearray']::regtype[]) as w (wanted)
    where t.category = 'A';
"""

_PLANT = """
do $plant$
declare
    o record;
    place text;
    made integer := 0;
begin
    foreach place in array %(schemas)s::text[] loop
        for o in
            select distinct on (p.oprname, l.given, r.given) p.oprname as name,
                case when p.oprleft <> 0 then l.given::regtype::text end as lefttype,
                r.given::regtype::text as righttype,
                case when s.typtype <> 'p' then p.oprresult::regtype::text
                    when l.given = any (select type from types where category = 'A') then l.given::regtype::text
                    else r.given::regtype::text end as result
            from pg_catalog.pg_operator p
            join pg_catalog.pg_type s on s.oid = p.oprresult
            join fits r on r.wanted = p.oprright
            join fits l on l.wanted = p.oprleft or (p.oprleft = 0 and l.given = l.wanted and l.given = r.given)
            where p.oprname = any (%(operators)s::text[]) and p.oprnamespace = 'pg_catalog'::regnamespace
            order by 1, l.given, r.given, (l.wanted = l.given and r.wanted = r.given) desc
        loop
            made := made + 1;
            begin
                execute format('create function %%I.%%I(%%s) returns %%s language plpgsql as $body$ begin'
                    ' perform evil.record(%%L); return %%s operator(pg_catalog.%%s) %%s; end $body$',
                    place, 'operator_' || made, concat_ws(', ', o.lefttype, o.righttype), o.result,
                    format('operator %%s.%%s(%%s, %%s)', place, o.name, o.lefttype, o.righttype),
                    case when o.lefttype is not null then '$1' end, o.name,
                    case when o.lefttype is not null then '$2' else '$1' end);
                execute format('create operator %%I.%%s (%%s rightarg = %%s, function = %%I.%%I)', place, o.name,
                    'leftarg = ' || o.lefttype || ',', o.righttype, place, 'operator_' || made);
            exception when undefined_object or datatype_mismatch or invalid_function_definition or syntax_error then
                raise exception 'operator %% (%%, %%): %%', o.name, o.lefttype, o.righttype, sqlerrm;
            end;
        end loop;
        for o in
            select distinct p.proname as name, p.arguments, p.result, p.proretset as several
            from (
                select p.proname, p.prorettype, p.proretset,
                    case when s.typtype = 'p' and s.typname <> 'record' then coalesce(g.first, 'text')
                        else p.prorettype::regtype::text end as result, g.arguments
                from pg_catalog.pg_proc p
                join pg_catalog.pg_type s on s.oid = p.prorettype
                cross join lateral generate_series(p.pronargs - p.pronargdefaults, p.pronargs::integer) as n (arguments)
                cross join lateral (
                    -- every argument exact, but for one that only fits: each such signature beats pg_catalog's own
                    select string_agg(coalesce(f.given::regtype::text, a.type::regtype::text), ', ' order by a.place)
                            as arguments,
                        min(coalesce(f.given::regtype::text, a.type::regtype::text)) filter (where a.place = 1)
                            as first,
                        bool_and(coalesce(t.typtype, 'b') <> 'p') as writable
                    from (select 0 as place, 0::oid as given, 0::oid as wanted union all
                        select distinct y.place, f.given, f.wanted
                        from unnest(p.proargtypes::oid[]) with ordinality as y (type, place)
                        join fits f on f.wanted = y.type) as varied (varied_place, given, wanted)
                    left join unnest(p.proargtypes::oid[]) with ordinality as a (type, place) on a.place <= n.arguments
                    left join lateral (select varied.given where varied.varied_place = a.place) f on true
                    left join pg_catalog.pg_type t on t.oid = coalesce(f.given, a.type)
                    group by varied.varied_place, varied.given) as g
                where p.proname = any (%(functions)s::text[]) and p.pronamespace = 'pg_catalog'::regnamespace
                    and p.prokind in ('f', 'a', 'w') and g.writable) as p
        loop
            begin
                execute format('create function %%I.%%I(%%s) returns %%s language plpgsql as $body$ begin'
                    ' perform evil.record(%%L); %%s; end $body$', place, o.name, o.arguments,
                    case when o.several then 'setof ' else '' end || o.result,
                    format('function %%s.%%s(%%s)', place, o.name, o.arguments),
                    case when o.several then 'return' else 'return null' end);
            exception when duplicate_function or invalid_function_definition or feature_not_supported
                or datatype_mismatch then
                null;
            end;
        end loop;
    end loop;
end $plant$
"""


def sources() -> str:
    """All SQL of ours: files, what is written in the code, and what is deployed."""
    package = resources.files("analytics_refreshd.postgres")
    folders, texts = [package], [path.read_text() for path in _DEPLOYED.glob("*.sql")]
    while folders:
        for entry in folders.pop().iterdir():
            if entry.is_dir():
                folders.append(entry)
            elif entry.name.endswith((".sql", ".py")):
                texts.append(entry.read_text())
    return "\n".join(texts)


def plant(connection: Connection, *schemas: str) -> tuple[int, int]:
    """Create them in `schemas`, each recorded by `evil.record`; returns how many operators and functions there are."""
    text = sources()
    names = {
        "operators": sorted(set(_OPERATOR.findall(text))),
        "functions": sorted(set(_CALL.findall(text))),
        "schemas": list(schemas),
    }
    # or it would find what it has just made
    connection.execute("set search_path = pg_catalog, pg_temp")
    connection.execute(_TYPES)
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(_PLANT, names)
    counted = connection.execute(
        "select (select count(*) from pg_catalog.pg_operator where oprnamespace::regnamespace::text = any (%(s)s)),"
        " (select count(*) from pg_catalog.pg_proc where pronamespace::regnamespace::text = any (%(s)s)"
        " and proname not like 'operator\\_%%')",
        {"s": list(schemas)},
    ).fetchone()
    connection.execute("reset search_path")
    assert counted is not None
    return int(counted[0]), int(counted[1])

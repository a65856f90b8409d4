-- The role that the API logs in as: it may use the schema analytics_api, and nothing else. There it finds a key by its hash,
-- notes that the key was used, and reads views that show the organizations to which the API admits a transaction. It has no
-- right on the application's tables, on the materialized views or on the schema analytics_refresh. Run it after
-- `analytics-refreshd migrate --tenants`, as the owner of the tables, and again after a change of the program; it only adds.
-- An owner that may not create roles asks somebody with CREATEROLE first:
--
--   create role analytics_api login;      -- and \password analytics_api
--
-- Then, as the owner:
--
--   psql -d DATABASE -f api.sql
--
-- role    the role's name (default analytics_api); created, able to log in, without a password, if missing
--
-- To take it back: drop owned by analytics_api; drop role analytics_api;
\set ON_ERROR_STOP on
\if :{?role}
\else
  \set role analytics_api
\endif
begin;
set local search_path = pg_catalog, pg_temp;
select not exists (select from pg_roles where rolname = :'role')
    and not exists (select from pg_roles where rolname = current_user and (rolsuper or rolcreaterole)) as role_missing
\gset
\if :role_missing
  \warn There is no role :"role", and you may not create one. Ask somebody with CREATEROLE for it, then run this again:
  \warn '  create role' :"role" 'login;'
\endif

select format('create role %I login', :'role')
where not exists (select from pg_roles where rolname = :'role') \gexec

grant connect on database :"DBNAME" to :"role";
-- what it may use there, which a later `migrate` grants again where that is created anew
select analytics_api.allow(:'role') \gset
commit;

-- Roles, databases, grants, schemas, extensions and pgBouncer's account: compare, then write what differs.
-- Variables: roles, databases, grants, pooler, gone (JSON); second (a psql script). Whoever reads this in a server's
-- log should find no secret in it.
BEGIN;
SELECT format('CREATE ROLE %I LOGIN', w.name)
FROM json_to_recordset(:'roles'::json) AS w (name text)
WHERE NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = w.name) \gexec

WITH change AS (
    SELECT w.name, concat(
        CASE WHEN w.rolsuper <> a.rolsuper THEN CASE WHEN w.rolsuper THEN ' SUPERUSER' ELSE ' NOSUPERUSER' END END,
        CASE WHEN w.rolinherit <> a.rolinherit THEN CASE WHEN w.rolinherit THEN ' INHERIT' ELSE ' NOINHERIT' END END,
        CASE WHEN w.rolcreaterole <> a.rolcreaterole
            THEN CASE WHEN w.rolcreaterole THEN ' CREATEROLE' ELSE ' NOCREATEROLE' END END,
        CASE WHEN w.rolcreatedb <> a.rolcreatedb
            THEN CASE WHEN w.rolcreatedb THEN ' CREATEDB' ELSE ' NOCREATEDB' END END,
        CASE WHEN w.rolcanlogin <> a.rolcanlogin THEN CASE WHEN w.rolcanlogin THEN ' LOGIN' ELSE ' NOLOGIN' END END,
        CASE WHEN w.rolreplication <> a.rolreplication
            THEN CASE WHEN w.rolreplication THEN ' REPLICATION' ELSE ' NOREPLICATION' END END,
        CASE WHEN w.rolbypassrls <> a.rolbypassrls
            THEN CASE WHEN w.rolbypassrls THEN ' BYPASSRLS' ELSE ' NOBYPASSRLS' END END,
        CASE WHEN w.rolconnlimit <> a.rolconnlimit THEN format(' CONNECTION LIMIT %s', w.rolconnlimit) END,
        CASE WHEN w.rolvaliduntil IS NOT NULL AND w.rolvaliduntil::timestamptz IS DISTINCT FROM a.rolvaliduntil
            THEN format(' VALID UNTIL %L', w.rolvaliduntil) END,
        CASE WHEN w.verifier IS DISTINCT FROM coalesce(a.rolpassword, '') AND w.verifier IS NOT NULL
            THEN format(' PASSWORD %L', w.verifier) END
    ) AS options
    FROM json_to_recordset(:'roles'::json) AS w (
        name text, verifier text, rolsuper boolean, rolinherit boolean, rolcreaterole boolean, rolcreatedb boolean,
        rolcanlogin boolean, rolreplication boolean, rolbypassrls boolean, rolconnlimit int, rolvaliduntil text
    )
    JOIN pg_authid AS a ON a.rolname = w.name
)
SELECT format('ALTER ROLE %I WITH', name) || options FROM change WHERE options <> '' \gexec

SELECT 'ALTER ROLE _crunchypgbouncer SET search_path = ''pgbouncer'''
FROM pg_roles AS r
WHERE r.rolname = '_crunchypgbouncer' AND (:'pooler'::json ->> 'wanted')::boolean AND NOT EXISTS (
    SELECT FROM pg_db_role_setting AS s
    WHERE s.setrole = r.oid AND s.setdatabase = 0 AND 'search_path=pgbouncer' = ANY (s.setconfig)
) \gexec
COMMIT;

SELECT format('CREATE DATABASE %I', w.name)
FROM json_array_elements_text(:'databases'::json) AS w (name)
WHERE NOT EXISTS (SELECT FROM pg_database AS d WHERE d.datname = w.name) \gexec

SELECT format('GRANT ALL PRIVILEGES ON DATABASE %I TO %I', d.datname, r.rolname)
FROM json_to_recordset(:'grants'::json) AS w (database text, role text)
JOIN pg_database AS d ON d.datname = w.database
JOIN pg_roles AS r ON r.rolname = w.role
WHERE 3 > (
    SELECT count(DISTINCT x.privilege_type)
    FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS x
    WHERE x.grantee = r.oid AND x.privilege_type IN ('CREATE', 'CONNECT', 'TEMPORARY')
) \gexec

-- The pooler must get in also where a user has taken PUBLIC's right to connect away.
SELECT format('GRANT CONNECT ON DATABASE %I TO _crunchypgbouncer', d.datname)
FROM pg_database AS d, pg_roles AS r
WHERE r.rolname = '_crunchypgbouncer' AND (:'pooler'::json ->> 'wanted')::boolean AND d.datallowconn
    AND NOT has_database_privilege(r.oid, d.oid, 'CONNECT') \gexec

-- Inside each database. psql has no loop and ends when it cannot connect, so a query writes the script of a
-- second psql, which starts a third for one database after the other. The names of all are told first: one that
-- does not answer with a fact of its own could not be connected to, and why stands in the line psql leaves.
SELECT json_build_object('fact', 'databases', 'names', coalesce(json_agg(d.datname ORDER BY d.datname), '[]'))
FROM pg_database AS d
WHERE d.datallowconn AND d.datconnlimit <> -2;
\setenv PGHOST :HOST
\setenv PGPORT :PORT
\setenv PGUSER :USER
\setenv PGDATABASE :DBNAME
\setenv PGCONNECT_TIMEOUT 10
-- In force before the first statement, whatever the database's owner has set for it: a time limit that ends the `SET`
-- of the search path would have the superuser find the owner's functions.
\setenv PGOPTIONS '-c role=none -c search_path=pg_catalog,pg_temp -c statement_timeout=0'
SELECT :'second' || string_agg(
    format(E'\\setenv PGDATABASE \'%s\'\nSELECT :\'third\' \\g |psql -X -q -A -t -w -f - 2>&1',
        replace(replace(replace(d.datname, '\', '\\'), '''', '\'''), E'\n', '\n')),
    E'\n' ORDER BY d.datname)
FROM pg_database AS d
WHERE d.datallowconn AND d.datconnlimit <> -2 \g |psql -X -q -A -t -w -f -

SELECT 'DROP ROLE _crunchypgbouncer'
FROM pg_roles AS r
WHERE r.rolname = '_crunchypgbouncer' AND NOT (:'pooler'::json ->> 'wanted')::boolean AND NOT EXISTS (
    SELECT FROM pg_shdepend AS s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
) \gexec

-- A role of the operator's own that is not needed any more; what it has made keeps it, without any power.
SELECT format(CASE WHEN EXISTS (
        SELECT FROM pg_shdepend AS s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
    ) THEN 'ALTER ROLE %I NOLOGIN NOSUPERUSER' ELSE 'DROP ROLE %I' END, r.rolname)
FROM json_array_elements_text(:'gone'::json) AS w (name)
JOIN pg_roles AS r ON r.rolname = w.name
WHERE r.rolcanlogin OR NOT EXISTS (
    SELECT FROM pg_shdepend AS s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid) \gexec

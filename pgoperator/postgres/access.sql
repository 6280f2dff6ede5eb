-- Roles, databases, grants, schemas, extensions and pgBouncer's account: compares and writes only differences.
-- Variables: roles, databases, grants, pooler, watchers, gone, owned (JSON); second (a psql script). No secret may reach the server log.
SELECT set_config('pgoperator.roles', :'roles', false) AS ignored \gset
SELECT set_config('pgoperator.grants', :'grants', false) AS ignored \gset
-- ALTER SYSTEM replaces values that must be the operator's or Patroni's. A connection string may have a password.
SELECT count(*) > 0 AS altered, coalesce(json_object_agg(f.name, CASE WHEN f.name = 'primary_conninfo' THEN 'a value'
    ELSE quote_literal(f.setting) END || format(' in %s:%s', f.sourcefile, f.sourceline)), '{}') AS reset
FROM pg_file_settings AS f
WHERE f.sourcefile = current_setting('data_directory') || '/postgresql.auto.conf'
    AND lower(f.name) IN (SELECT json_array_elements_text(:'owned'::json)) \gset
\if :altered
\set ON_ERROR_STOP off
SELECT format('ALTER SYSTEM RESET %I', w.name)
FROM json_object_keys(:'reset'::json) AS w (name) \gexec
\set ON_ERROR_STOP on
SELECT pg_reload_conf() AS ignored \gset
-- What is still there was refused (allow_alter_system): it is reported as any other value of another file.
SELECT json_build_object('fact', 'reset', 'what', coalesce(json_object_agg(w.key, w.value), '{}'))
FROM json_each_text(:'reset'::json) AS w WHERE NOT EXISTS (
    SELECT FROM pg_file_settings AS f
    WHERE f.name = w.key AND f.sourcefile = current_setting('data_directory') || '/postgresql.auto.conf');
\endif

-- Each role by itself: one that PostgreSQL refuses does not stop the others.
DO $roles$
DECLARE
    item record;
    options text;
    refused jsonb := '{}';
BEGIN
    FOR item IN
        SELECT w.* FROM json_to_recordset(current_setting('pgoperator.roles')::json) AS w (
            name text, verifier text, rolsuper boolean, rolinherit boolean, rolcreaterole boolean, rolcreatedb boolean,
            rolcanlogin boolean, rolreplication boolean, rolbypassrls boolean, rolconnlimit int, rolvaliduntil text)
    LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = item.name) THEN
                EXECUTE format('CREATE ROLE %I LOGIN', item.name);
            END IF;
            SELECT concat(
                CASE WHEN item.rolsuper <> a.rolsuper
                    THEN CASE WHEN item.rolsuper THEN ' SUPERUSER' ELSE ' NOSUPERUSER' END END,
                CASE WHEN item.rolinherit <> a.rolinherit
                    THEN CASE WHEN item.rolinherit THEN ' INHERIT' ELSE ' NOINHERIT' END END,
                CASE WHEN item.rolcreaterole <> a.rolcreaterole
                    THEN CASE WHEN item.rolcreaterole THEN ' CREATEROLE' ELSE ' NOCREATEROLE' END END,
                CASE WHEN item.rolcreatedb <> a.rolcreatedb
                    THEN CASE WHEN item.rolcreatedb THEN ' CREATEDB' ELSE ' NOCREATEDB' END END,
                CASE WHEN item.rolcanlogin <> a.rolcanlogin
                    THEN CASE WHEN item.rolcanlogin THEN ' LOGIN' ELSE ' NOLOGIN' END END,
                CASE WHEN item.rolreplication <> a.rolreplication
                    THEN CASE WHEN item.rolreplication THEN ' REPLICATION' ELSE ' NOREPLICATION' END END,
                CASE WHEN item.rolbypassrls <> a.rolbypassrls
                    THEN CASE WHEN item.rolbypassrls THEN ' BYPASSRLS' ELSE ' NOBYPASSRLS' END END,
                CASE WHEN item.rolconnlimit <> a.rolconnlimit THEN format(' CONNECTION LIMIT %s', item.rolconnlimit) END,
                CASE WHEN item.rolvaliduntil IS NOT NULL
                        AND item.rolvaliduntil::timestamptz IS DISTINCT FROM a.rolvaliduntil
                    THEN format(' VALID UNTIL %L', item.rolvaliduntil) END,
                CASE WHEN item.verifier IS DISTINCT FROM coalesce(a.rolpassword, '') AND item.verifier IS NOT NULL
                    THEN format(' PASSWORD %L', item.verifier) END
            ) INTO options FROM pg_authid AS a WHERE a.rolname = item.name;
            IF options <> '' THEN
                EXECUTE format('ALTER ROLE %I WITH', item.name) || options;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            refused := refused || jsonb_build_object(format('user %L', item.name), SQLERRM);
        END;
    END LOOP;
    PERFORM set_config('pgoperator.refused', refused::text, false);
END
$roles$;
SELECT json_build_object('fact', 'refused', 'what', current_setting('pgoperator.refused')::json)
WHERE current_setting('pgoperator.refused') <> '{}';

SELECT 'ALTER ROLE _crunchypgbouncer SET search_path = ''pgbouncer'''
FROM pg_roles AS r
WHERE r.rolname = '_crunchypgbouncer' AND (:'pooler'::json ->> 'wanted')::boolean AND NOT EXISTS (
    SELECT FROM pg_db_role_setting AS s
    WHERE s.setrole = r.oid AND s.setdatabase = 0 AND 'search_path=pgbouncer' = ANY (s.setconfig)
) \gexec

-- Roles for monitoring connect to the databases of users: they are no superusers, and their search path holds nothing
-- that a user may create. Only the extensions in the schema public of `postgres` need more.
SELECT format('GRANT pg_monitor TO %I', r.rolname)
FROM json_array_elements_text(:'watchers'::json) AS w (name)
JOIN pg_roles AS r ON r.rolname = w.name
WHERE NOT EXISTS (
    SELECT FROM pg_auth_members AS m WHERE m.member = r.oid AND m.roleid = 'pg_monitor'::regrole) \gexec
SELECT format('ALTER ROLE %I%s SET search_path = %s', r.rolname, path.place, path.value)
FROM json_array_elements_text(:'watchers'::json) AS w (name)
JOIN pg_roles AS r ON r.rolname = w.name
CROSS JOIN (
    SELECT 0::oid, '', 'pg_catalog, pg_temp'
    UNION ALL SELECT d.oid, ' IN DATABASE postgres', 'pg_catalog, public, pg_temp'
    FROM pg_database AS d WHERE d.datname = 'postgres'
) AS path (database, place, value)
WHERE NOT EXISTS (
    SELECT FROM pg_db_role_setting AS s
    WHERE s.setrole = r.oid AND s.setdatabase = path.database AND 'search_path=' || path.value = ANY (s.setconfig)
) \gexec

-- A database that cannot be created stops nothing else; it is reported as missing, with the server's last error.
\set ON_ERROR_STOP off
SELECT format('CREATE DATABASE %I', w.name)
FROM json_array_elements_text(:'databases'::json) AS w (name)
WHERE NOT EXISTS (SELECT FROM pg_database AS d WHERE d.datname = w.name) \gexec
\set ON_ERROR_STOP on
SELECT json_build_object('fact', 'refused', 'what', json_object_agg(format('database %L', w.name), :'LAST_ERROR_MESSAGE'))
FROM json_array_elements_text(:'databases'::json) AS w (name)
WHERE NOT EXISTS (SELECT FROM pg_database AS d WHERE d.datname = w.name)
HAVING count(*) > 0;

DO $grants$
DECLARE
    item record;
    refused jsonb := '{}';
BEGIN
    FOR item IN
        SELECT d.datname, r.rolname
        FROM json_to_recordset(current_setting('pgoperator.grants')::json) AS w (database text, role text)
        JOIN pg_database AS d ON d.datname = w.database
        JOIN pg_roles AS r ON r.rolname = w.role
        WHERE 3 > (
            SELECT count(DISTINCT x.privilege_type)
            FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS x
            WHERE x.grantee = r.oid AND x.privilege_type IN ('CREATE', 'CONNECT', 'TEMPORARY'))
    LOOP
        BEGIN
            EXECUTE format('GRANT ALL PRIVILEGES ON DATABASE %I TO %I', item.datname, item.rolname);
        EXCEPTION WHEN OTHERS THEN
            refused := refused || jsonb_build_object(
                format('user %L, privileges on database %L', item.rolname, item.datname), SQLERRM);
        END;
    END LOOP;
    PERFORM set_config('pgoperator.refused', refused::text, false);
END
$grants$;
SELECT json_build_object('fact', 'refused', 'what', current_setting('pgoperator.refused')::json)
WHERE current_setting('pgoperator.refused') <> '{}';

-- The pooler looks passwords up in one database. A privilege of its own stays when CONNECT is revoked from PUBLIC.
SELECT format('GRANT CONNECT ON DATABASE %I TO _crunchypgbouncer', d.datname)
FROM pg_database AS d, pg_roles AS r
WHERE r.rolname = '_crunchypgbouncer' AND (:'pooler'::json ->> 'wanted')::boolean AND d.datname = :'pooler'::json ->> 'database'
    AND NOT EXISTS (
        SELECT FROM aclexplode(d.datacl) AS x WHERE x.grantee = r.oid AND x.privilege_type = 'CONNECT') \gexec

-- Inside each database. psql has no loop and exits when it cannot connect, so a query generates the script of a
-- second psql, which starts a third psql for each database in turn. All names are reported first: a database without
-- a fact of its own was not reachable, and psql's error line has the cause. Messages get a prefix, because the server's
-- warnings contain the names of databases as they are: a line of a name must not be read as a fact. The databases of the
-- spec come first, and the others as far as time allows: a user who may create databases must not keep others from theirs.
SELECT json_build_object('fact', 'databases', 'names', coalesce(json_agg(d.datname ORDER BY d.datname), '[]'))
FROM pg_database AS d
WHERE d.datallowconn AND d.datconnlimit <> -2;
\setenv PGHOST :HOST
\setenv PGPORT :PORT
\setenv PGUSER :USER
\setenv PGDATABASE :DBNAME
\setenv PGCONNECT_TIMEOUT 10
\set until `echo $(($(date +%s) + 40))`
\setenv UNTIL :until
-- These override the settings of the database's owner before the first statement: a timeout during the SET of the
-- search path would otherwise make the superuser call the owner's functions.
\setenv PGOPTIONS '-c role=none -c search_path=pg_catalog,pg_temp -c statement_timeout=0'
SELECT :'second' || string_agg(
    format(E'\\setenv PGDATABASE \'%s\'\nSELECT :\'third\' \\g |{ '
        'if [ "$(date +%%s)" -lt "$UNTIL" ]; then timeout 15 psql -X -q -A -t -w -f - 2>&1 >&3; '
        '[ $? != 124 ] || echo "psql: error: not finished within 15 s"; '
        'else cat >/dev/null; echo "psql: error: no time left"; fi | sed "s/^/message: /"; } 3>&1',
        replace(replace(replace(d.datname, '\', '\\'), '''', '\'''), E'\n', '\n')),
    E'\n' ORDER BY d.datname NOT IN (SELECT 'postgres' UNION ALL SELECT json_array_elements_text(:'databases'::json)),
        d.datname)
FROM pg_database AS d
WHERE d.datallowconn AND d.datconnlimit <> -2 \g |psql -X -q -A -t -w -f -

SELECT 'DROP ROLE _crunchypgbouncer'
FROM pg_roles AS r
WHERE r.rolname = '_crunchypgbouncer' AND NOT (:'pooler'::json ->> 'wanted')::boolean AND NOT EXISTS (
    SELECT FROM pg_shdepend AS s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
) \gexec

-- Roles of the operator that are no longer needed; a role that owns objects is kept without login and superuser rights.
SELECT format(CASE WHEN EXISTS (
        SELECT FROM pg_shdepend AS s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
    ) THEN 'ALTER ROLE %I NOLOGIN NOSUPERUSER' ELSE 'DROP ROLE %I' END, r.rolname)
FROM json_array_elements_text(:'gone'::json) AS w (name)
JOIN pg_roles AS r ON r.rolname = w.name
WHERE r.rolcanlogin OR NOT EXISTS (
    SELECT FROM pg_shdepend AS s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid) \gexec

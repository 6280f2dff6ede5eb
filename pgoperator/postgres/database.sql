-- Reconciles one database in one transaction and reports one fact; `want` is JSON.
SELECT set_config('pgoperator.want', :'want', false) AS ignored \gset
DO $access$
DECLARE
    want constant json := current_setting('pgoperator.want');
    here constant text := current_database();
    pooler constant oid := (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = '_crunchypgbouncer');
    loaded constant text[] := regexp_split_to_array(current_setting('shared_preload_libraries'), '[ ,"]+');
    item record;
    refused jsonb := '{}';
    denied jsonb := '{}';
    detail text;
BEGIN
    FOR item IN
        SELECT w.name, w.wanted AND coalesce(w.only_in = here, true) AS wanted, a.default_version,
            e.extversion AS installed, a.name IS NOT NULL AND coalesce(w.library = ANY (loaded), true) AS usable
        FROM json_to_recordset(want -> 'extensions') AS w (
            name text, wanted boolean, only_in text, library text)
        LEFT JOIN pg_available_extensions AS a ON a.name = w.name
        LEFT JOIN pg_extension AS e ON e.extname = w.name
    LOOP
        CONTINUE WHEN CASE WHEN item.wanted
            THEN NOT item.usable OR coalesce(item.installed = item.default_version, false)
            ELSE item.installed IS NULL END;
        -- An extension that cannot be created or dropped does not block the rest.
        BEGIN
            IF item.wanted AND item.installed IS NULL THEN
                -- Some extensions require a schema; the others are created in `public`.
                EXECUTE format('CREATE EXTENSION %I SCHEMA %I', item.name, coalesce((
                    SELECT v.schema FROM pg_available_extension_versions AS v
                    WHERE v.name = item.name AND v.version = item.default_version), 'public'));
            ELSIF item.wanted THEN
                EXECUTE format('ALTER EXTENSION %I UPDATE', item.name);
            ELSE
                EXECUTE format('DROP EXTENSION %I', item.name);
            END IF;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
            refused := refused || jsonb_build_object(
                item.name, SQLERRM || coalesce(': ' || nullif(split_part(detail, E'\n', 1), ''), ''));
        END;
    END LOOP;
    PERFORM set_config('pgoperator.refused', refused::text, false);

    FOR item IN
        SELECT w.name FROM json_array_elements_text(want -> 'schemas' -> here) AS w (name)
        WHERE NOT EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = w.name)
    LOOP
        BEGIN
            EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', item.name, item.name);
        EXCEPTION WHEN OTHERS THEN
            denied := denied || jsonb_build_object(format('schema %L', item.name), SQLERRM);
        END;
    END LOOP;

    FOR item IN
        SELECT r.rolname FROM json_array_elements_text(want -> 'public' -> here) AS w (name)
        JOIN pg_roles AS r ON r.rolname = w.name
        JOIN pg_namespace AS n ON n.nspname = 'public'
        WHERE 2 > (SELECT count(DISTINCT x.privilege_type) FROM aclexplode(n.nspacl) AS x WHERE x.grantee = r.oid)
    LOOP
        BEGIN
            EXECUTE format('GRANT ALL PRIVILEGES ON SCHEMA public TO %I', item.rolname);
        EXCEPTION WHEN OTHERS THEN
            denied := denied || jsonb_build_object(format('schema public for user %L', item.rolname), SQLERRM);
        END;
    END LOOP;
    PERFORM set_config('pgoperator.denied', denied::text, false);

    IF (want -> 'pooler' ->> 'wanted')::boolean AND here = want -> 'pooler' ->> 'database' THEN
        IF NOT EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = 'pgbouncer') THEN
            CREATE SCHEMA pgbouncer;
        END IF;
        -- A schema or function of another owner could return forged verifiers.
        IF NOT EXISTS (SELECT FROM pg_namespace AS n JOIN pg_roles AS r ON r.oid = n.nspowner
                WHERE n.nspname = 'pgbouncer' AND r.rolsuper) THEN
            ALTER SCHEMA pgbouncer OWNER TO CURRENT_USER;
        END IF;
        FOR item IN
            SELECT DISTINCT x.grantee FROM pg_namespace AS n, aclexplode(n.nspacl) AS x
            WHERE n.nspname = 'pgbouncer' AND x.grantee <> n.nspowner
                AND NOT (x.grantee = pooler AND x.privilege_type = 'USAGE' AND NOT x.is_grantable)
        LOOP
            EXECUTE format('REVOKE ALL ON SCHEMA pgbouncer FROM %s CASCADE',
                CASE item.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(item.grantee)) END);
        END LOOP;
        IF NOT EXISTS (SELECT FROM pg_namespace AS n, aclexplode(n.nspacl) AS x
                WHERE n.nspname = 'pgbouncer' AND x.grantee = pooler AND x.privilege_type = 'USAGE') THEN
            GRANT USAGE ON SCHEMA pgbouncer TO _crunchypgbouncer;
        END IF;
        FOR item IN
            SELECT p.oid::regprocedure::text AS routine
            FROM pg_proc AS p JOIN pg_roles AS o ON o.oid = p.proowner JOIN pg_language AS l ON l.oid = p.prolang
            WHERE p.pronamespace = 'pgbouncer'::regnamespace AND p.proname = 'get_auth' AND (
                    oidvectortypes(p.proargtypes), pg_get_function_result(p.oid), p.prosrc, l.lanname, p.prosecdef,
                    array_to_string(p.proconfig, ';'), o.rolsuper
                ) IS DISTINCT FROM (
                    'text', 'TABLE(username text, password text)', want -> 'pooler' ->> 'source', 'sql', true,
                    'search_path=pg_catalog, pg_temp', true)
                OR p.pronamespace = 'pgbouncer'::regnamespace AND p.proname = 'get_auth' AND (
                    SELECT count(*) <> 2 OR NOT bool_and(x.grantee IN (p.proowner, pooler))
                    FROM aclexplode(p.proacl) AS x)
        LOOP
            EXECUTE 'DROP ROUTINE ' || item.routine;
        END LOOP;
        IF NOT EXISTS (SELECT FROM pg_proc AS p
                WHERE p.pronamespace = 'pgbouncer'::regnamespace AND p.proname = 'get_auth') THEN
            EXECUTE format('CREATE FUNCTION pgbouncer.get_auth(username text)'
                ' RETURNS TABLE (username text, password text) LANGUAGE sql STABLE SECURITY DEFINER'
                ' SET search_path = pg_catalog, pg_temp AS %L', want -> 'pooler' ->> 'source');
            REVOKE ALL ON FUNCTION pgbouncer.get_auth(text) FROM PUBLIC;
            GRANT EXECUTE ON FUNCTION pgbouncer.get_auth(text) TO _crunchypgbouncer;
        END IF;
    -- A function from before stays: a pooler with its former configuration looks passwords up here.
    ELSIF NOT (want -> 'pooler' ->> 'wanted')::boolean THEN
        IF to_regprocedure('pgbouncer.get_auth(text)') IS NOT NULL THEN
            DROP FUNCTION pgbouncer.get_auth(text);
        END IF;
        -- The schema is kept if it contains objects of a user.
        IF EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname = 'pgbouncer' AND NOT EXISTS (
                SELECT FROM pg_depend AS d
                WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid)) THEN
            DROP SCHEMA pgbouncer;
        END IF;
        IF EXISTS (SELECT FROM pg_shdepend AS s
                WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = pooler
                    AND s.dbid IN (0, (SELECT d.oid FROM pg_database AS d WHERE d.datname = here))) THEN
            -- Objects that it owns (there should be none) are kept; DROP OWNED then removes only its privileges.
            REASSIGN OWNED BY _crunchypgbouncer TO CURRENT_USER;
            DROP OWNED BY _crunchypgbouncer;
        END IF;
    END IF;
END
$access$;
\if :ERROR
SELECT json_build_object('fact', 'database', 'name', current_database(), 'error', :'LAST_ERROR_MESSAGE');
\else
SELECT json_build_object('fact', 'database', 'name', current_database(),
    'extensions', current_setting('pgoperator.refused')::json, 'refused', current_setting('pgoperator.denied')::json);
\endif

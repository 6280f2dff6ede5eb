-- The end of every script: what the server says of itself. It writes nothing.
SELECT json_build_object(
    'fact', 'state',
    'location', pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint,
    'replication', (
        SELECT coalesce(json_agg(json_build_object(
            'application_name', r.application_name, 'state', r.state, 'sync_state', r.sync_state,
            'replayed', pg_wal_lsn_diff(r.replay_lsn, '0/0')::bigint
        ) ORDER BY r.application_name), '[]')
        FROM pg_stat_replication AS r),
    'pending_restart', (
        SELECT coalesce(json_agg(s.name ORDER BY s.name), '[]') FROM pg_settings AS s WHERE s.pending_restart),
    -- A parameter that merely waits for a restart has an error there too; one that was taken out of the files
    -- and waits has neither name nor file.
    'file_errors', (
        SELECT coalesce(json_object_agg(coalesce(f.name, f.sourcefile || ':' || f.sourceline), f.error), '{}')
        FROM pg_file_settings AS f
        WHERE f.error IS NOT NULL AND f.sourcefile IS NOT NULL
            AND NOT EXISTS (SELECT FROM pg_settings AS s WHERE s.name = lower(f.name) AND s.pending_restart)),
    -- What is set by file or command line: a name that is missing here has not come as far as the server.
    'set', (
        SELECT coalesce(json_agg(n.name ORDER BY n.name), '[]')
        FROM (
            SELECT lower(f.name) FROM pg_file_settings AS f WHERE f.name IS NOT NULL
            UNION SELECT s.name FROM pg_settings AS s WHERE s.source = 'command line'
        ) AS n (name)),
    'hba_errors', (
        SELECT coalesce(json_agg(format('line %s: %s', h.line_number, h.error) ORDER BY h.line_number), '[]')
        FROM pg_hba_file_rules AS h WHERE h.error IS NOT NULL),
    'missing_extensions', (
        SELECT coalesce(json_agg(w.name ORDER BY w.name), '[]')
        FROM json_to_recordset(:'extensions'::json) AS w (name text, wanted boolean)
        WHERE w.wanted AND NOT EXISTS (SELECT FROM pg_available_extensions AS a WHERE a.name = w.name)),
    -- Of those that may be preloaded; a path, or a search path of one's own, is its author's affair.
    'missing_libraries', (
        SELECT coalesce(json_agg(w.name ORDER BY w.name), '[]')
        FROM json_array_elements_text(:'libraries'::json) AS w (name)
        WHERE w.name ~ '^[A-Za-z0-9_-]+$' AND current_setting('dynamic_library_path') = '$libdir'
            AND NOT EXISTS (
                SELECT FROM pg_config() AS c, pg_ls_dir(c.setting) AS f (name)
                WHERE c.name = 'PKGLIBDIR' AND f.name = w.name || '.so')),
    'preloaded', current_setting('shared_preload_libraries')
);
\echo {"fact": "end"}

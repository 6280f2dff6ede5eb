-- The end of every script: reports the state of the server and writes nothing.
SELECT json_build_object(
    'fact', 'state',
    'location', pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint,
    'replication', (
        SELECT coalesce(json_agg(json_build_object(
            'application_name', r.application_name, 'state', r.state, 'sync_state', r.sync_state,
            'replayed', pg_wal_lsn_diff(r.replay_lsn, '0/0')::bigint
        ) ORDER BY r.application_name), '[]')
        FROM pg_stat_replication AS r),
    -- PostgreSQL keeps WAL for a slot without limit unless max_slot_wal_keep_size is set.
    'slots', (
        SELECT coalesce(json_agg(json_build_object(
            'name', s.slot_name, 'active', s.active, 'lost', s.wal_status IS NOT DISTINCT FROM 'lost', 'held', w.held
        ) ORDER BY s.slot_name), '[]')
        FROM pg_replication_slots AS s,
            LATERAL (SELECT coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint) AS w (held)
        WHERE s.wal_status = 'lost' OR w.held > 1024 * 1024 * 1024),
    'pending_restart', (
        SELECT coalesce(json_agg(s.name ORDER BY s.name), '[]') FROM pg_settings AS s WHERE s.pending_restart),
    -- A parameter that only waits for a restart has an error there, too; one that was removed from the files and
    -- waits for a restart has neither name nor file.
    'file_errors', (
        SELECT coalesce(json_object_agg(coalesce(f.name, f.sourcefile || ':' || f.sourceline), f.error), '{}')
        FROM pg_file_settings AS f
        WHERE f.error IS NOT NULL AND f.sourcefile IS NOT NULL
            AND NOT EXISTS (SELECT FROM pg_settings AS s WHERE s.name = lower(f.name) AND s.pending_restart)),
    -- Parameters that are set by file or command line; a name that is missing here has not reached the server.
    'set', (
        SELECT coalesce(json_agg(n.name ORDER BY n.name), '[]')
        FROM (
            SELECT lower(f.name) FROM pg_file_settings AS f WHERE f.name IS NOT NULL
            UNION SELECT s.name FROM pg_settings AS s WHERE s.source = 'command line'
        ) AS n (name)),
    -- The last entry of a parameter counts; Patroni writes the two files that are left out.
    'elsewhere', (
        SELECT coalesce(json_object_agg(f.name, format('%L in %s:%s', f.setting, f.sourcefile, f.sourceline)), '{}')
        FROM (
            SELECT DISTINCT ON (lower(l.name)) lower(l.name) AS name, l.setting, l.sourcefile, l.sourceline
            FROM pg_file_settings AS l WHERE l.name IS NOT NULL ORDER BY lower(l.name), l.seqno DESC
        ) AS f
        WHERE f.sourcefile NOT IN (
            current_setting('config_file'), regexp_replace(current_setting('config_file'), '\.conf$', '.base.conf'))),
    'hba_errors', (
        SELECT coalesce(json_agg(format('line %s: %s', h.line_number, h.error) ORDER BY h.line_number), '[]')
        FROM pg_hba_file_rules AS h WHERE h.error IS NOT NULL),
    'missing_extensions', (
        SELECT coalesce(json_agg(w.name ORDER BY w.name), '[]')
        FROM json_to_recordset(:'extensions'::json) AS w (name text, wanted boolean)
        WHERE w.wanted AND NOT EXISTS (SELECT FROM pg_available_extensions AS a WHERE a.name = w.name)),
    -- Only plain library names in the default dynamic_library_path; paths are not checked.
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

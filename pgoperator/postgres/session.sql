-- A superuser session that ignores the settings of users for their databases and roles, and that keeps verifiers
-- out of logs and statistics. Only SET is used until the search path is fixed, because it calls no function that a
-- user could have replaced.
SET ROLE NONE;
SET search_path = pg_catalog, pg_temp;
SET application_name = 'pgoperator';
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET quote_all_identifiers = off;
SET default_transaction_read_only = off;
SET default_transaction_isolation = 'read committed';
SET default_transaction_deferrable = off;
SET session_replication_role = origin;
SET statement_timeout = '60s';
SET lock_timeout = '5s';
SET idle_in_transaction_session_timeout = '60s';
-- Each pass compares again, so waiting for a synchronous standby has no benefit, and without one it would block.
SET synchronous_commit = local;
SET client_min_messages = warning;
SET lc_messages = 'C';
SET datestyle = 'ISO';
SET log_statement = 'none';
SET log_duration = off;
SET log_min_duration_statement = -1;
SET log_min_error_statement = panic;
SET track_activities = off;
-- Settings that depend on the version or on a loaded library.
SELECT count(set_config(s.name, quiet.value, false)) AS ignored
FROM (VALUES
    ('auto_explain.log_min_duration', '-1'),
    ('debug_print_parse', 'off'),
    ('debug_print_plan', 'off'),
    ('debug_print_raw_parse', 'off'),
    ('debug_print_rewritten', 'off'),
    ('log_min_duration_sample', '-1'),
    ('log_transaction_sample_rate', '0'),
    ('pg_stat_monitor.pgsm_track', 'none'),
    ('pg_stat_monitor.pgsm_track_utility', 'off'),
    ('pg_stat_statements.track', 'none'),
    ('pg_stat_statements.track_utility', 'off'),
    ('pgaudit.log', 'none'),
    ('pgaudit.role', ''),
    ('transaction_timeout', '0')
) AS quiet (name, value)
JOIN pg_settings AS s ON s.name = quiet.name AND s.context IN ('user', 'superuser') \gset

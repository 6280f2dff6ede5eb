-- The head of every script: psql settings, session settings, and the check of the server's role and version.
-- Variables: major; extensions, libraries (JSON). Output: facts, one JSON object a line.
\set ON_ERROR_STOP on
\set QUIET on
\set VERBOSITY terse
\set SHOW_CONTEXT never
\pset pager off
\pset format unaligned
\pset tuples_only on
\pset null ''
\encoding UTF8
:session

SELECT json_build_object(
    'fact', 'server',
    'version', current_setting('server_version_num')::int,
    'in_recovery', pg_is_in_recovery(),
    'system_identifier', (SELECT c.system_identifier::text FROM pg_control_system() AS c)
);
SELECT pg_is_in_recovery() AS in_recovery,
    current_setting('server_version_num')::int / 10000 <> :major AS other_major \gset
\if :in_recovery
    \quit
\endif
\if :other_major
    \quit
\endif


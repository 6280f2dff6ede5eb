"""Checks the settings of pgBouncer's section `[pgbouncer]` before they reach a pod.

pgBouncer stops reading at the first unknown name or wrong value. All settings that follow then have
pgBouncer's defaults, `server_tls_sslmode = prefer` among them, and a pod that starts later ends at once. The
names and types are those of pgBouncer up to 1.26 (https://www.pgbouncer.org/config.html).
"""

import difflib
import re
from collections.abc import Mapping

from pgoperator.errors import InvalidSpec

REASON = "PGBouncerOptionRefused"
"""Condition reason of the InvalidSpec for a refused setting."""

_NUMBER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|\d+)")
_SECONDS = re.compile(r"\+?(0[xX][0-9a-fA-F]+|(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?)")
_TEXT = re.compile(r"[^\r\n]*")
_POOL_MODE = re.compile(r"session|transaction|statement", re.IGNORECASE)
_SSL_MODE = re.compile(r"disable|allow|prefer|require|verify-ca|verify-full", re.IGNORECASE)
_AUTH_TYPE = re.compile(r"any|trust|plain|md5|cert|hba|ldap|pam|scram-sha-256", re.IGNORECASE)

_NUMBERS = """
    application_name_add_host default_pool_size disable_pqexec listen_backlog listen_port
    log_connections log_disconnections log_pooler_errors log_stats max_client_conn
    max_db_client_connections max_db_connections max_packet_size max_prepared_statements
    max_user_client_connections max_user_connections min_pool_size peer_id pkt_buf query_wait_notify
    reserve_pool_size sbuf_loopcnt scram_iterations server_fast_close server_reset_query_always
    server_round_robin so_reuseport stats_period syslog tcp_defer_accept tcp_keepalive tcp_keepcnt
    tcp_keepidle tcp_keepintvl tcp_socket_buffer tcp_user_timeout unix_socket_mode verbose
"""
_DURATIONS = """
    autodb_idle_timeout cancel_wait_timeout client_idle_timeout client_login_timeout dns_max_ttl
    dns_nxdomain_ttl dns_zone_check_period idle_transaction_timeout query_timeout query_wait_timeout
    reserve_pool_timeout server_check_delay server_connect_timeout server_idle_timeout
    server_lifetime server_login_retry suspend_timeout transaction_timeout
"""
_TEXTS = """
    admin_users auth_dbname auth_file auth_hba_file auth_ident_file auth_ldap_options auth_query
    auth_user client_tls13_ciphers client_tls_ca_file client_tls_cert_file client_tls_ciphers
    client_tls_dheparams client_tls_ecdhcurve client_tls_key_file client_tls_protocols conffile
    ignore_startup_parameters job_name listen_addr logfile pidfile resolv_conf server_check_query
    server_reset_query server_tls13_ciphers server_tls_ca_file server_tls_cert_file
    server_tls_ciphers server_tls_key_file server_tls_protocols stats_users syslog_facility
    syslog_ident track_extra_parameters unix_socket_dir unix_socket_group user
"""
_WORDS = {
    "auth_type": _AUTH_TYPE,
    "client_tls_sslmode": _SSL_MODE,
    "pool_mode": _POOL_MODE,
    "server_tls_sslmode": _SSL_MODE,
}
KNOWN: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys(_NUMBERS.split(), _NUMBER),
    **dict.fromkeys(_DURATIONS.split(), _SECONDS),
    **dict.fromkeys(_TEXTS.split(), _TEXT),
    **_WORDS,
}
"""Setting -> what its value looks like."""
_EXPECTED = {
    _NUMBER: "a whole number",
    _SECONDS: "a number of seconds, without a unit",
    _TEXT: "one line of text",
    _POOL_MODE: "session, transaction or statement",
    _SSL_MODE: "disable, allow, prefer, require, verify-ca or verify-full",
    _AUTH_TYPE: "any, trust, plain, md5, cert, hba, ldap, pam or scram-sha-256",
}


def check(settings: Mapping[str, str]) -> None:
    """Raise InvalidSpec for settings that pgBouncer does not know or whose value it cannot read."""
    problems = [problem for name in sorted(settings) if (problem := _problem(name, settings[name]))]
    if problems:
        raise InvalidSpec("spec.proxy.pgBouncer.config.global: " + "; ".join(problems), reason=REASON)


def _problem(name: str, value: str) -> str:
    pattern = KNOWN.get(name)
    if pattern is None:
        similar = difflib.get_close_matches(name, KNOWN, n=1)
        return f"pgBouncer has no setting {name}" + (f"; did you mean {similar[0]}?" if similar else "")
    if not pattern.fullmatch(value.strip()):
        # The value may be long, and belongs to the user.
        return f"{name} must be {_EXPECTED[pattern]}"
    return ""

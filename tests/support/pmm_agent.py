"""A replacement for PMM's client in a test, with the environment and the mounts of the real client.

Like the entry point of the real image, it answers kubelet's probes and runs the prerun
script with `pmm-admin` in the PATH. This file is also that `pmm-admin`: it reads the credentials, queries
the query source over TLS, and registers at the server with the token.
"""

import base64
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

VIEWS = {"pgstatements": "pg_stat_statements", "pgstatmonitor": "pg_stat_monitor"}


def agent() -> None:
    environment = os.environ
    programs = Path(environment["PMM_AGENT_PATHS_TEMPDIR"])
    programs.mkdir(exist_ok=True)
    (programs / "agent.py").write_text(environment["AGENT_SOURCE"], encoding="utf-8")
    admin = programs / "pmm-admin"
    admin.write_text(f'#!/bin/sh\nexec python3 {programs}/agent.py "$@"\n', encoding="utf-8")
    admin.chmod(0o755)

    class Status(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/local/Status" else 404)
            self.end_headers()

    port = int(environment["PMM_AGENT_LISTEN_PORT"])
    server = http.server.ThreadingHTTPServer((environment["PMM_AGENT_LISTEN_ADDRESS"], port), Status)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = f"{programs}:{environment['PATH']}"
    script = environment["PMM_AGENT_PRERUN_SCRIPT"]
    done = subprocess.run(["/bin/sh", "-c", script], env=environment | {"PATH": path}, check=False)
    sys.stdout.write(f"prerun ended with {done.returncode}\n")
    sys.stdout.flush()
    threading.Event().wait()


def admin(arguments: list[str]) -> None:
    options = dict(a.removeprefix("--").partition("=")[::2] for a in arguments if a.startswith("--"))
    words = [a for a in arguments if not a.startswith("--")]
    node = {"words": words, "options": options, "node": os.environ["PMM_AGENT_SETUP_NODE_NAME"]}
    if words == ["add", "postgresql"]:
        node |= look(options)
    register(node)


def look(options: dict[str, str]) -> dict[str, str]:
    """Read the query source as the user in the credentials file."""
    source = Path(options["credentials-source"])
    credentials = json.loads(source.read_text(encoding="utf-8"))
    query = (
        "SELECT current_user, (SELECT s.ssl FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid()), "
        f"count(*) > 0 FROM {VIEWS[options['query-source']]}"
    )
    environment = os.environ | {
        "PGHOST": options["host"],
        "PGPORT": options["port"],
        "PGUSER": credentials["username"],
        "PGPASSWORD": credentials["password"],
        "PGDATABASE": "postgres",
        "PGSSLMODE": "require",
    }
    done = subprocess.run(
        ["psql", "-XqAt", "-c", query], env=environment, capture_output=True, text=True, check=False
    )
    mode = oct(source.stat().st_mode & 0o777)
    return {"seen": done.stdout.strip() or done.stderr.strip(), "mode": mode}


def register(node: object) -> None:
    server, user = os.environ["PMM_AGENT_SERVER_ADDRESS"], os.environ["PMM_AGENT_SERVER_USERNAME"]
    token = base64.b64encode(f"{user}:{os.environ['PMM_AGENT_SERVER_PASSWORD']}".encode()).decode()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(
        f"https://{server}/v1/management/services",
        data=json.dumps(node).encode(),
        headers={"Authorization": f"Basic {token}"},
    )
    urllib.request.urlopen(request, context=context, timeout=10).close()


if __name__ == "__main__":
    admin(sys.argv[1:]) if len(sys.argv) > 1 else agent()

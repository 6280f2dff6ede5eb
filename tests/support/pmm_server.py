"""A registration server over TLS that accepts one token and prints each request.

python3 -u pmm_server.py PORT FILE-OF-CERTIFICATE-AND-KEY TOKEN-FILE
"""

import base64
import http.server
import ssl
import sys
from pathlib import Path

port, certificate, token = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_text().strip()
EXPECTED = "Basic " + base64.b64encode(f"service_token:{token}".encode()).decode()


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        good = self.headers.get("Authorization") == EXPECTED
        sys.stdout.write((body if good else "REFUSED") + "\n")
        sys.stdout.flush()
        self.send_response(200 if good else 401)
        self.end_headers()


listener = http.server.ThreadingHTTPServer(("", port), Server)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)
listener.socket = context.wrap_socket(listener.socket, server_side=True)
listener.serve_forever()

"""TLS of tests: a certificate, and a proxy that ends TLS before a gateway."""

import contextlib
import select
import socket
import socketserver
import ssl
import subprocess
import threading
from pathlib import Path


def certificate(path):
    """Makes a certificate of ``localhost`` that is its own CA, with its key, in one file."""
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*made, "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


class Proxy:
    """Ends TLS on a port of its own and passes everything on to another port."""

    def __init__(self, certificate, port):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                # A client that does not accept the certificate ends the handshake.
                with contextlib.suppress(OSError):
                    with (
                        context.wrap_socket(self.request, server_side=True) as client,
                        socket.create_connection(("127.0.0.1", port)) as gateway,
                    ):
                        relay(client, gateway)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"localhost:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def relay(client, gateway):
    """Copies in both directions until one side ends."""
    while True:
        # What TLS has decrypted already does not make the socket readable.
        is_decrypted = client.pending()
        for source in [client] if is_decrypted else select.select([client, gateway], [], [])[0]:
            data = source.recv(1 << 16)
            if not data:
                return
            (gateway if source is client else client).sendall(data)

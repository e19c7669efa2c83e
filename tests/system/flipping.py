"""A server in front of the device port that flips one bit of a large body: TLS on both sides, with the device's own files."""

import http.server
import ssl
import threading


class Front:
    """with Front(server, device, flip=byte) as front: front.port"""

    def __init__(self, server, device, flip):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802  (name is the library's)
                reply = device.request("GET", self.path)
                body = bytearray(reply.body)
                if len(body) > flip:
                    body[flip] ^= 1
                self.send_response(reply.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        # Any certificate of the installation will do for localhost: the server's own.
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(server.data / "tls" / "server.pem", server.data / "tls" / "server.key")
        self.httpd = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.socket = tls.wrap_socket(self.httpd.socket, server_side=True)
        self.port = self.httpd.server_address[1]
        self.thread = threading.Thread(target=self.httpd.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join(10)

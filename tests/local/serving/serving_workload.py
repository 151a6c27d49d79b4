"""A workload for tests: says who it is. It ends when FAIL is set, listens after DELAY seconds, and only once there is
no file HOLD.
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

if os.environ.get("FAIL"):
    print("the model is broken", flush=True)
    sys.exit(3)
time.sleep(float(os.environ.get("DELAY", "0")))
while os.environ.get("HOLD") and Path(os.environ["HOLD"]).exists():
    time.sleep(0.05)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.startswith("/slow"):
            time.sleep(float(self.path.partition("=")[2]))
        status = int(self.path.removeprefix("/status/")) if self.path.startswith("/status/") else 200
        if self.path.startswith("/stream"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\none\r\n")
            seen = Path(self.path.partition("=")[2])
            while not seen.exists():  # made once "one" has arrived
                time.sleep(0.01)
            self.wfile.write(b"3\r\ntwo\r\n0\r\n\r\n")
            return
        data = {"pid": os.getpid(), "revision": os.environ["K_REVISION"], "version": os.environ.get("VERSION", "")}
        data |= {"path": self.path, "headers": dict(self.headers.items()), "body": body.decode(), "argv": sys.argv[1:]}
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *args: object) -> None:
        pass


ThreadingHTTPServer.daemon_threads = False
ThreadingHTTPServer.request_queue_size = 256
server = ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(0.02)

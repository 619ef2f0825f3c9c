"""receiver.py PORT LIMIT BUSY CHAIN KEY OUT: a receiver of POSTs over TLS as a program of its own. It takes bodies of at most LIMIT bytes and
answers 413 to longer ones, answers every BUSYth POST with 429 and Retry-After: 1, and otherwise keeps a body durably before it says 200.
Each answer is a line of OUT.log: status, bytes, time, and the headers that let the sender in."""
import http.server
import os
import ssl
import sys
import threading
import time

port, limit, busy = (int(value) for value in sys.argv[1:4])
out, lock, posts = sys.argv[6], threading.Lock(), 0


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global posts
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            posts += 1
            status = 413 if len(body) > limit else 429 if busy and posts % busy == 0 else 200
            if status == 200:
                with open(out, "ab") as kept:
                    kept.write(body)
                    kept.flush()
                    os.fsync(kept.fileno())
            with open(out + ".log", "a") as log:
                print(status, len(body), time.time(), self.headers["Authorization"], self.headers["X-Channel"], file=log)
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[4], sys.argv[5])
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()

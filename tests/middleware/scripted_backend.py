"""A backend of a Balancer that answers in octets, right or wrong."""

from __future__ import annotations

import re
import socket
import threading

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Script:
    """A backend that answers its n-th request with the n-th of its octets, whatever is asked; the last for all others.

    close: it closes behind each answer.  Empty octets with close: it closes without an answer; without: it is silent.
    """

    def __init__(self, *answers, close=False):
        self.answers, self.close_behind = answers, close
        self.requests = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.sockets = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            self.sockets.append(sock)
            threading.Thread(target=self.serve, args=[sock], daemon=True).start()

    def serve(self, sock):
        try:
            while self.answer_one(sock):
                pass
        except OSError:
            pass
        sock.close()

    def answer_one(self, sock):
        received = b""
        while b"\r\n\r\n" not in received:
            octets = sock.recv(65536)
            if not octets:
                return False
            received += octets
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        while length and len(body) < int(length[1]):
            octets = sock.recv(65536)
            if not octets:
                return False
            body += octets
        self.requests.append(head + b"\r\n\r\n" + body)
        stays = not self.close_behind  # who has the answer may change it
        sock.sendall(self.answers[min(len(self.requests), len(self.answers)) - 1])
        return stays

    def end(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

"""Listens on a loopback port of its room, becomes the command, and leaves behind a child that hands every connection on
to a socket.

Run as a program of its own with the standard library alone: the socket, the port, then the command. The child ends with
its room; it has no bounds of its own, as the command's are set when it begins. Knows nothing of proxies.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

_CHUNK_BYTES = 65_536


def main(arguments: list[str]) -> None:
    """Never returns unless the command cannot be executed."""
    way, port, command = arguments[0], int(arguments[1]), arguments[2:]
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(64)
    if os.fork() == 0:
        _let_go(listener.fileno())
        _serve(listener, way)
    listener.close()
    os.execv(command[0], command)


def _let_go(kept: int) -> None:
    """The command's output ends with the command, and its signals are its own."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nothing = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.closerange(3, kept)
    os.closerange(kept + 1, 4_096)


def _serve(listener: socket.socket, way: str) -> None:
    while True:
        inner, _ = listener.accept()
        threading.Thread(target=_join, args=(inner, way), daemon=True).start()


def _join(inner: socket.socket, way: str) -> None:
    outer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        outer.connect(way)
    except OSError:  # nobody listens just now: between two nodes
        inner.close()
        return
    back = threading.Thread(target=_copy, args=(outer, inner), daemon=True)
    back.start()
    _copy(inner, outer)
    back.join()
    inner.close()
    outer.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(_CHUNK_BYTES):
            sink.sendall(data)
    except OSError:
        pass  # one side is gone; the other learns it by the end below
    try:
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


if __name__ == "__main__":
    main(sys.argv[1:])

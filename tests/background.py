"""Small servers of the tests' own, which answer while a test goes on."""

import socketserver
import threading
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def answering(server: socketserver.BaseServer) -> Generator[str]:
    """Let a server on loopback answer until the block ends; gives its address."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        host, port = server.server_address[:2]
        yield f"http://{host}:{port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

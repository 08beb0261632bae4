"""Serve the demo library, and say where once it answers: demo_serve.py PORT QUERY."""

import os
import signal
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

TEXT = """
The page:  {address}/
A search:  curl -F image=@{query} '{address}/search?library=demo&k=10'
The API:   {address}/docs
All images of this library are synthetic. Press Ctrl+C to stop.
"""


def main(port: str, query: str) -> int:
    """Start the server, wait until it is ready, print the addresses, wait for its end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the server is stopped below
    settings = {"SONOSEEK_SERVER__HOST": "127.0.0.1", "SONOSEEK_SERVER__PORT": port}
    server = subprocess.Popen([sys.executable, "-m", "app", "serve"], env={**os.environ, **settings})
    try:
        address = f"http://127.0.0.1:{port}"
        while server.poll() is None and not is_ready(address):
            time.sleep(0.1)
        if server.poll() is None:
            print(TEXT.format(address=address, query=query), flush=True)
        return server.wait()
    except KeyboardInterrupt:  # the server got the same signal
        server.wait()
        return 0
    finally:
        server.terminate()
        server.wait()


def is_ready(address: str) -> bool:
    """Whether /health/ready answers with 200."""
    try:
        build_opener(ProxyHandler({})).open(f"{address}/health/ready", timeout=5).close()  # never through a proxy
    except (URLError, OSError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

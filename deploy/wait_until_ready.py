"""Wait until a server answers /health/ready with 200, or its process has ended: wait_until_ready.py ADDRESS PID."""

import os
import sys
import time
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

address, pid = sys.argv[1], int(sys.argv[2])
opener = build_opener(ProxyHandler({}))  # loopback never goes through a proxy
for _ in range(600):
    try:
        opener.open(f"{address}/health/ready", timeout=5).close()
        sys.exit(0)
    except (URLError, OSError):
        time.sleep(0.1)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        break
sys.exit("the service did not become ready")

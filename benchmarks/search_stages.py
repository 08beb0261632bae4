"""Where the time of enrolling, starting and searching goes, on a real library with resnet-us.

python benchmarks/search_stages.py MANIFEST [--requests 200] [--json FILE]

Measures in one run: enrolling the manifest; start of a process with stored vectors to ready; one client's
POST /search over loopback HTTP, whole request, beside read + encode bare in the same server process.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import uvicorn
from local_server import free_port, is_ready

from app.config import Settings
from app.library.manifest import read_manifest
from app.logs import configure_logs
from app.main import create_app
from app.search.answer import ImageQuery
from app.wiring import running_service


def main() -> None:
    """Run everything and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    configure_logs("warning")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        result = {
            "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
            "enrol": time_enrolment(data, options.manifest),
            "start_to_ready_s": [round(time_start(data), 2) for _ in range(5)],
            "search": time_searches(data, options.manifest, options.requests),
        }
    report(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def time_enrolment(data, manifest):
    rows = read_manifest(manifest)
    with running_service(Settings(data=data)) as service:
        begin = time.perf_counter()
        report = service.importer.run("bench", rows, allow_unmasked=True)
        seconds = time.perf_counter() - begin
    return {"images": report.added, "seconds": round(seconds, 1)}


def time_start(data):
    """Seconds from the start of a process until /health/ready answers 200."""
    port = free_port()
    environment = {**os.environ, "SONOSEEK_DATA": str(data), "SONOSEEK_SERVER__PORT": str(port)}
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "app", "serve"], env=environment, stderr=subprocess.DEVNULL)
    try:
        while not is_ready(port):
            time.sleep(0.01)
        return time.perf_counter() - begin
    finally:
        process.terminate()
        process.wait()


def time_searches(data, manifest, count):
    """Alternates a bare read + encode here, in the server's process, with a request of a client process."""
    settings = Settings(data=data, server={"port": free_port()}, log={"level": "warning"})
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=settings.server.port, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not is_ready(settings.server.port):
        time.sleep(0.05)
    finder = app.state.opening.service().finder
    encoder = app.state.opening.service().batcher.default
    images = [row.path.read_bytes() for row in read_manifest(manifest).rows[:count]]
    ours, theirs = multiprocessing.Pipe()
    client = multiprocessing.get_context("spawn").Process(target=run_client, args=(theirs, settings.server.port))
    client.start()
    stages = {name: [] for name in ("read bare", "encode bare", "request", "read", "encode", "search", "scores")}
    for number, image in enumerate([*images[:20], *images]):
        begin = time.perf_counter()
        frame = finder.read(ImageQuery(image))
        middle = time.perf_counter()
        finder.encode(encoder, frame)
        end = time.perf_counter()
        ours.send(image)
        whole, answer = ours.recv()
        if number < 20:
            continue  # warming up
        stages["read bare"].append(1000 * (middle - begin))
        stages["encode bare"].append(1000 * (end - middle))
        stages["request"].append(1000 * whole)
        for name in ("read", "encode", "search", "scores"):
            stages[name].append(json.loads(answer)["timings_ms"][name])
    ours.send(None)
    client.join()
    server.should_exit = True
    thread.join()
    table = {name: percentiles(values) for name, values in stages.items()}
    bare = [a + b for a, b in zip(stages["read bare"], stages["encode bare"], strict=True)]
    table["read + encode bare"] = percentiles(bare)
    table["ratio of p50"] = round(statistics.median(stages["request"]) / statistics.median(bare), 2)
    return table


def run_client(pipe, port):
    """Post each image that comes through the pipe; answer with the seconds it took and the body."""
    connection = HTTPConnection("127.0.0.1", port)
    while image := pipe.recv():
        begin = time.perf_counter()
        connection.request("POST", "/search?library=bench", image, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse().read()
        pipe.send((time.perf_counter() - begin, answer))
    connection.close()


def percentiles(values):
    ordered = sorted(values)
    return {"p50": round(statistics.median(ordered), 2), "p99": round(ordered[int(0.99 * (len(ordered) - 1))], 2)}


def report(result):
    enrol = result["enrol"]
    print(f"enrolling: {enrol['images']} images in {enrol['seconds']} s")
    print(f"process start to ready: {statistics.median(result['start_to_ready_s'])} s (median of 5)")
    print("\n| stage | p50 ms | p99 ms |\n| --- | --- | --- |")
    for name, values in result["search"].items():
        if isinstance(values, dict):
            print(f"| {name} | {values['p50']} | {values['p99']} |")
    print(f"\nwhole request / (read + encode bare), p50: {result['search']['ratio of p50']}")


if __name__ == "__main__":
    main()

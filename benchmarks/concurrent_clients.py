"""Many clients at once on one encoder: whether batches form, how fast it answers, and that nobody is lost.

python benchmarks/concurrent_clients.py [--encoder dinov2-vits14] [--weights FILE] [--clients 64] [--seconds 60]
       [--precision auto] [--route search|embed] [--pictures MANIFEST] [--json FILE]

In one run: forward passes of the encoder alone in batches of 1 to 16, in a process of their own; then a real
server process with as many permits as there are clients, and a process with that many client threads, each of
which sends its next picture when it has the answer to the last one. Without --weights the encoder is filled
with seeded random numbers, which compute as fast. Batches are counted from the server's debug log.
"""

import argparse
import collections
import itertools
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
from dataclasses import replace
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import torch
from local_server import free_port, is_ready

from app.config import EncoderSettings, Settings
from app.domain import Frame, ImageFacts
from app.encoders.adding import add_model
from app.encoders.device import choose_placement
from app.encoders.random_weights import RandomWeights
from app.encoders.registry import open_encoder
from app.encoders.weights import WeightStore
from app.images.phantom import write_phantoms
from app.library.manifest import read_manifest, read_taxonomy
from app.logs import configure_logs
from app.wiring import running_service

BATCHES = (1, 2, 4, 8, 16)
REFERENCES = 64
BODY_BYTES = 4 << 20  # permits x body must fit into half of the memory


def main() -> None:
    """Run everything and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="dinov2-vits14")
    parser.add_argument("--weights", type=Path, help="an official file; random numbers without it")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--route", choices=("search", "embed"), default="search")
    parser.add_argument(
        "--pictures", type=Path, help="a manifest whose pictures are enrolled and sent; phantoms without"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    configure_logs("warning")
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_for(Path(folder), options)
        install(settings, options)
        images = enrol(settings, options.pictures or phantoms(Path(folder) / "phantoms"))
        alone = in_own_process(time_batches, settings)
        served = time_server(settings, options, images)
    result = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
        "encoder": options.encoder,
        "route": options.route,
        "alone_images_per_s": alone,
        **served,
        "share_of_best_batch": round(served["requests_per_s"] / max(alone.values()), 3),
    }
    report(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def settings_for(folder, options):
    encoders = EncoderSettings(names=(options.encoder,), precision=options.precision)
    server = {"port": free_port(), "permits": options.clients, "max_body_bytes": BODY_BYTES}
    return Settings(data=folder / "data", models=folder / "models", encoders=encoders, server=server)


def install(settings, options):
    store = WeightStore(settings.models_dir)
    if options.weights:
        add_model(store, options.encoder, options.weights, allow_unknown_digest=True)
    else:
        found = store.find(options.encoder)
        store.install(found.manifest, RandomWeights(found.folder, found.manifest).tensors())


def phantoms(folder):
    write_phantoms(folder, count=REFERENCES, seed=1)
    return folder / "manifest.csv"


def enrol(settings, path):
    """A small library, and the pictures that clients send."""
    taxonomy = path.with_name("taxonomy.toml")
    manifest = read_manifest(path, read_taxonomy(taxonomy) if taxonomy.exists() else None)
    few = replace(manifest, rows=manifest.rows[:REFERENCES], bad=())
    with running_service(settings) as service:
        service.importer.run("bench", few, allow_unmasked=True)
    return [row.path for row in few.rows]


def in_own_process(function, *arguments):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def time_batches(settings):
    """Images per second of forward passes alone, by batch size."""
    own = settings.encoders
    encoder = open_encoder(
        own.names[0], WeightStore(settings.models_dir), choose_placement(own.device, own.precision, own.threads)
    )
    size = encoder.pre(grey_frame()).shape
    return {str(batch): round(time_batch(encoder, np.zeros((batch, *size), dtype=np.float32)), 2) for batch in BATCHES}


def time_batch(encoder, batch):
    encoder.core(batch)
    times = []
    while sum(times) < 4 or len(times) < 3:
        begin = time.perf_counter()
        encoder.core(batch)
        times.append(time.perf_counter() - begin)
    return len(batch) / statistics.median(times)


def grey_frame():
    return Frame(np.full((64, 64), 128, np.uint8), ImageFacts(sha256="", format="png", width=64, height=64))


def time_server(settings, options, images):
    log = settings.data.parent / "server.log"
    environment = {
        **os.environ,
        "SONOSEEK_DATA": str(settings.data),
        "SONOSEEK_MODELS": str(settings.models_dir),
        "SONOSEEK_ENCODERS__NAMES": options.encoder,
        "SONOSEEK_ENCODERS__PRECISION": options.precision,
        "SONOSEEK_SERVER__PORT": str(settings.server.port),
        "SONOSEEK_SERVER__PERMITS": str(options.clients),
        "SONOSEEK_SERVER__MAX_BODY_BYTES": str(BODY_BYTES),
        "SONOSEEK_LOG__LEVEL": "debug",
        "SONOSEEK_LOG__FORMAT": "json",
    }
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "app", "serve"], env=environment, stderr=file)
        try:
            while not is_ready(settings.server.port):
                assert process.poll() is None, log.read_text(encoding="utf-8")
                time.sleep(0.05)
            before = log.stat().st_size
            answers = in_own_process(run_clients, settings.server.port, options, images)
        finally:
            process.terminate()
            process.wait()
    with log.open(encoding="utf-8") as file:
        file.seek(before)
        return summary(answers, [json.loads(line) for line in file], options.clients)


def run_clients(port, options, paths):
    """(status, seconds) of every request, and the seconds of health checks beside them."""
    images = [path.read_bytes() for path in paths]
    answers, health = [], []
    end = time.monotonic() + options.seconds
    threads = [
        threading.Thread(target=run_client, args=(port, options.route, images[number:] + images[:number], end, answers))
        for number in range(options.clients)
    ]
    threads.append(threading.Thread(target=watch_health, args=(port, end, health)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"answers": answers, "health": health}


def run_client(port, route, images, end, answers):
    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    number = 0
    while time.monotonic() < end:
        begin = time.monotonic()
        try:
            connection.request(
                "POST", f"/{route}", images[number % len(images)], {"Content-Type": "application/octet-stream"}
            )
            response = connection.getresponse()
            response.read()
            status = response.status
        except OSError as error:
            status = type(error).__name__
            connection.close()
        answers.append((status, time.monotonic() - begin))
        number += 1
    connection.close()


def watch_health(port, end, seconds):
    """Whether the event loop still answers while every core computes."""
    while time.monotonic() < end:
        begin = time.monotonic()
        is_ready(port)
        seconds.append(time.monotonic() - begin)
        time.sleep(0.1)


def summary(measured, lines, clients):
    answers = measured["answers"]
    batches = [line for line in lines if line["event"] == "batch"]
    sizes = [line["images"] for line in batches]
    rate = steady_rate(batches, clients)
    return {
        "statuses": {str(key): count for key, count in collections.Counter(row[0] for row in answers).items()},
        "requests": len(answers),
        "requests_per_s": round(rate, 2),
        "latency_ms": percentiles([1000 * took for _, took in answers]),
        "whole_queue_ms": round(1000 * clients / rate, 1),
        "health_ms": percentiles([1000 * took for took in measured["health"]]),
        "batches": {str(size): count for size, count in sorted(collections.Counter(sizes).items())},
        "mean_batch": round(sum(sizes) / len(sizes), 1),
        "encode_ms_per_image": round(sum(line["ms"] for line in batches) / sum(sizes), 1),
    }


def steady_rate(batches, clients):
    """Images per second between the end of the first batch and the end of the last that had a full queue behind it."""
    ends = [datetime.fromisoformat(line["timestamp"]).timestamp() for line in batches]
    images = list(itertools.accumulate(line["images"] for line in batches))
    last = next(number for number, done in enumerate(images) if done >= images[-1] - clients)
    return (images[last] - images[0]) / (ends[last] - ends[0])


def percentiles(values):
    ordered = sorted(values)
    at = {name: ordered[int(share * (len(ordered) - 1))] for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))}
    return {name: round(value, 1) for name, value in at.items()}


def report(result):
    print(f"{result['encoder']}, forward passes alone\n\n| batch | images/s |\n| --- | --- |")
    for batch, rate in result["alone_images_per_s"].items():
        print(f"| {batch} | {rate} |")
    print(f"\n{result['requests']} requests to /{result['route']}: {result['statuses']}\n")
    print("| | p50 ms | p99 ms | largest ms |\n| --- | --- | --- | --- |")
    for name in ("latency_ms", "health_ms"):
        row = result[name]
        print(f"| {name.removesuffix('_ms')} | {row['p50']} | {row['p99']} | {row['max']} |")
    print(
        f"\n{result['whole_queue_ms']} ms: one picture of every client at that rate, which bounds a fair queue's wait"
    )
    print(f"batches formed (size: count): {result['batches']}, {result['mean_batch']} images on average")
    print(f"encoding took {result['encode_ms_per_image']} ms an image")
    print(
        f"requests/s: {result['requests_per_s']}, {100 * result['share_of_best_batch']:.0f} % of the best batch alone"
    )


if __name__ == "__main__":
    main()

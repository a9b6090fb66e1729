"""hone's download from lakeFS against plain parallel HTTP reads of the same objects.

Run: python -m benchmarks.lakefs_download [--json] [--objects N] [--megabytes N] [--repeats N]

The server is that of LAKEFS_ENDPOINT, else the `lakefs` program of the PATH, else the stand-in of
the tests in a process of its own. The plain reads use as many threads; they throw the bytes away,
or write them to files as hone does.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import urllib3

from deployments.lakefs_server import Keys, find_server, serve_lakefs
from tasks.records.digests import digest_bytes
from tasks.versioning.lakefs_client import open_client
from tasks.versioning.lakefs_refs import DIGEST_KEY
from tasks.versioning.lakefs_source import NUM_THREADS, LakeFSSource

REPOSITORY = "hone-benchmark"
KEYS = Keys("AKIAJBENCHMARKONLY", "benchmark-only", "benchmark-only")
CHUNK_BYTES = 1 << 20


@contextmanager
def find_or_serve(folder: Path) -> Iterator[str]:
    """Lead the environment to a server, and give its description."""
    if endpoint := os.environ.get("LAKEFS_ENDPOINT"):
        yield f"lakeFS {open_client().version} at {endpoint}"
    elif program := find_server():
        with serve_lakefs(program, folder / "server", KEYS) as endpoint:
            lead_to(endpoint)
            yield f"lakeFS {open_client().version}, local store, on this machine"
    else:
        with run_stand_in(folder / "server") as endpoint:
            lead_to(endpoint)
            yield "the stand-in of the tests, on this machine"


def lead_to(endpoint: str) -> None:
    """Set the three variables."""
    os.environ["LAKEFS_ENDPOINT"] = endpoint
    os.environ["LAKEFS_ACCESS_KEY"] = KEYS.access_key
    os.environ["LAKEFS_SECRET_KEY"] = KEYS.secret_key


@contextmanager
def run_stand_in(folder: Path) -> Iterator[str]:
    """Run the tests' stand-in in a process of its own, so that it does not slow its clients."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve_until_told, args=(folder, theirs)
    )
    process.start()
    try:
        yield str(ours.recv())
    finally:
        ours.send(None)
        process.join()


def serve_until_told(folder: Path, pipe: Connection) -> None:
    """Serve the stand-in until something is sent."""
    from tests.lakefs_server.server import serve_stand_in

    with serve_stand_in(folder, {KEYS.access_key: KEYS.secret_key}) as server:
        pipe.send(server.endpoint)
        pipe.recv()


def fill_repository(name: str, num_objects: int, num_bytes: int, *, is_pushed: bool) -> None:
    """Commit objects of random bytes, with the digests that `hone data push` adds or without."""
    from lakefs.repository import Repository

    client = open_client()
    namespace = (
        f"{client.sdk_client.config_api.get_config().storage_config.blockstore_type}://{name}"
    )
    branch = Repository(name, client).create(namespace).branch("main")
    generator = random.Random(0)
    contents = [generator.randbytes(num_bytes // num_objects) for _ in range(4)]

    def upload(number: int) -> None:
        content = number.to_bytes(8, "big") + contents[number % 4][8:]
        metadata = {DIGEST_KEY: digest_bytes(content)} if is_pushed else None
        branch.object(f"rows/{number:06d}.txt").upload(content, pre_sign=False, metadata=metadata)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upload, range(num_objects)))
    branch.commit("fill")


def read_plainly(name: str, num_objects: int, folder: Path | None = None) -> int:
    """Read all objects in parallel, into files of a folder or away, and return the bytes."""
    client = open_client()
    headers = urllib3.make_headers(basic_auth=f"{client.config.username}:{client.config.password}")
    pool = urllib3.PoolManager(maxsize=NUM_THREADS)

    def read(number: int) -> int:
        path = quote(f"rows/{number:06d}.txt", safe="")
        url = f"{client.config.host}/repositories/{name}/refs/main/objects?path={path}"
        response = pool.request("GET", url, headers=headers, preload_content=False)
        size = 0
        with (folder / str(number) if folder else Path(os.devnull)).open("wb") as file:
            for chunk in response.stream(CHUNK_BYTES):
                size += len(chunk)
                if folder:
                    file.write(chunk)
        response.release_conn()
        return size

    with ThreadPoolExecutor(NUM_THREADS) as threads:
        return sum(threads.map(read, range(num_objects)))


def read_with_hone(name: str, store: Path) -> int:
    """Pin, list, download, verify and store all objects, and return the number of bytes."""
    source = LakeFSSource(f"lakefs://{name}/main/rows")
    blobs = store / "blobs"
    digests = source.fetch_files([file.name for file in source.list_files()], blobs)
    return sum((blobs / digest).stat().st_size for digest in digests.values())


@dataclass(frozen=True)
class Cost:
    """What one read of all bytes took."""

    seconds: float
    processor_seconds: float
    """Of this process: the server's is not in it."""
    server_seconds: float
    """Of the server that this process started."""

    @property
    def both_seconds(self) -> float:
        """What client and server need together, where they share the processors."""
        return self.processor_seconds + self.server_seconds


def measure_cost(read: Callable[[], int], num_bytes: int) -> Cost:
    """Return what a read of all bytes takes."""
    start, ours, theirs = time.perf_counter(), time.process_time(), read_server_seconds()
    assert read() == num_bytes
    seconds = time.perf_counter() - start
    return Cost(seconds, time.process_time() - ours, read_server_seconds() - theirs)


def read_server_seconds() -> float:
    """Return the processor time of the processes that this one started."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return float(sum(t.user + t.system for t in times))


def compare_reads(name: str, num_objects: int, num_bytes: int, repeats: int) -> dict[str, Any]:
    """Read the same objects both ways, turn about, and compare."""
    ways = ("plain", "plain_to_files", "hone", "hone_again")
    costs: dict[str, list[Cost]] = {way: [] for way in ways}
    read_plainly(name, num_objects)  # warm-up: the server's files are in memory from here on
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder)
            read_ours = functools.partial(read_with_hone, name, store)
            reads: tuple[Callable[[], int], ...] = (
                functools.partial(read_plainly, name, num_objects),
                functools.partial(read_plainly, name, num_objects, store),
                read_ours,
                read_ours,
            )
            for way, read in zip(ways, reads, strict=True):
                costs[way].append(measure_cost(read, num_bytes))
    return describe_costs(costs, num_bytes)


def describe_costs(costs: dict[str, list[Cost]], num_bytes: int) -> dict[str, Any]:
    """Return medians of seconds, of speeds turn about, and of the client's processor time."""
    gigabytes = num_bytes / (1 << 30)
    ratios = compare_turns(costs["plain"], costs["hone"])
    to_files = compare_turns(costs["plain_to_files"], costs["hone"])
    return {
        "seconds": {
            way: round(statistics.median(cost.seconds for cost in found), 3)
            for way, found in costs.items()
        },
        "client_processor_seconds_per_gigabyte": {
            way: round(statistics.median(c.processor_seconds for c in found) / gigabytes, 2)
            for way, found in costs.items()
        },
        "server_processor_seconds_per_gigabyte": {
            way: round(statistics.median(c.server_seconds for c in found) / gigabytes, 2)
            for way, found in costs.items()
        },
        "processor_ratio": round(compare_processors(costs["plain"], costs["hone"]), 3),
        "processor_ratio_to_files": round(
            compare_processors(costs["plain_to_files"], costs["hone"]), 3
        ),
        "speed_ratio": round(statistics.median(ratios), 3),
        "speed_ratios": [round(ratio, 3) for ratio in ratios],
        "speed_ratio_to_files": round(statistics.median(to_files), 3),
    }


def compare_turns(plain: list[Cost], ours: list[Cost]) -> list[float]:
    """Return our speed as a share of the plain one, for each turn."""
    return [one.seconds / other.seconds for one, other in zip(plain, ours, strict=True)]


def compare_processors(plain: list[Cost], ours: list[Cost]) -> float:
    """Return the plain processor time of client and server as a share of ours, of the medians.

    It is the speed as a share of the plain one where client and server share processors that they
    keep busy, and suffers less from other work than the clock does.
    """
    one, other = (statistics.median(cost.both_seconds for cost in way) for way in (plain, ours))
    return one / other


def compare_servers_objects(num_objects: int, megabytes: int, repeats: int) -> dict[str, Any]:
    """Compare for objects that hone pushed (SHA-256 known) and that others uploaded (MD5)."""
    num_bytes = megabytes * (1 << 20) // num_objects * num_objects
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, find_or_serve(Path(folder)) as server:
        for kind in ("pushed", "foreign"):
            name = f"{REPOSITORY}-{kind}-{os.getpid()}"
            fill_repository(name, num_objects, num_bytes, is_pushed=kind == "pushed")
            figures[kind] = compare_reads(name, num_objects, num_bytes, repeats)
    return {
        "server": server,
        "objects": num_objects,
        "megabytes": round(num_bytes / (1 << 20), 1),
        "threads": NUM_THREADS,
        "repeats": repeats,
        **figures,
    }


def main(arguments: list[str] | None = None) -> None:
    """Print the figures, as lines or as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    figures = compare_servers_objects(options.objects, options.megabytes, options.repeats)
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:28} {value}")


if __name__ == "__main__":
    main()

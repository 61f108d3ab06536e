"""A Ray of several nodes on this host, a labelling driver as a process of its own, and ways to kill each of them."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

DRIVER = Path(__file__).parents[1] / "deployments" / "labeling" / "fault_driver.py"
_NODE = {"num_cpus": 3, "object_store_memory": 150 * 2**20}
_PATIENCE_S = 900


class Driver(subprocess.Popen):
    """The process of a run; ``node_id`` is where Ray has put it."""

    node_id: str
    log: IO[str]

    def said(self) -> str:
        """What it has written to stderr."""
        self.log.seek(0)
        return self.log.read()


class Chaos:
    """Enter it; leaving it stops what it started."""

    def __init__(self, nodes: int = 3, others: Sequence[Mapping[str, Any]] = ()) -> None:
        """``nodes`` alike, the head among them, and ``others`` with resources of their own."""
        from ray.cluster_utils import Cluster

        # Workers are as nice as this process: Ray would otherwise make them nicer still, and they starve.
        os.environ.setdefault("RAY_worker_niceness", "0")
        self.cluster = Cluster(initialize_head=True, head_node_args=dict(_NODE))
        for _ in range(nodes - 1):
            self.cluster.add_node(**_NODE)  # type: ignore[arg-type]
        self.others = [self.cluster.add_node(**(_NODE | dict(one))) for one in others]  # type: ignore[arg-type]
        self._drivers: list[Driver] = []

    def __enter__(self) -> "Chaos":
        return self

    def __exit__(self, *_: object) -> None:
        for driver in self._drivers:
            if driver.poll() is None:
                driver.kill()
            driver.communicate()
            driver.log.close()
        self.cluster.shutdown()

    def start(
        self, source: Path, out: Path, *, slow_s: float = 0.0, told: Mapping[str, Any] | None = None
    ) -> Driver:
        """A run; it returns once Ray is joined. ``told`` is the driver's own: see it."""
        environment = {
            **os.environ, "RAY_ADDRESS": self.cluster.address, "FAULT_DRIVER": json.dumps(told or {}),
        }  # fmt: skip
        words = [sys.executable, str(DRIVER), str(source), str(out), str(slow_s)]
        log = tempfile.TemporaryFile("w+")
        driver = Driver(words, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        driver.log = log
        assert driver.stdout is not None
        driver.node_id = driver.stdout.readline().strip()
        self._drivers.append(driver)
        return driver

    def finish(self, driver: Driver) -> None:
        """Waits for a good end."""
        driver.wait(_PATIENCE_S)
        if driver.returncode:
            raise AssertionError(f"the run ended with {driver.returncode}: {driver.said()[-1500:]}")

    def kill_worker(self, chance: random.Random, driver: Driver) -> int | None:
        """Kills a worker that holds a model, some time after there is one; None if the run ended before."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until and driver.poll() is None:
            workers = self._model_workers()
            if workers:
                time.sleep(chance.uniform(0.2, 3))
                workers = [worker for worker in workers if worker.is_running()]
            if workers and driver.poll() is None:
                victim = chance.choice(workers)
                victim.send_signal(signal.SIGKILL)
                return victim.pid
            time.sleep(0.5)
        return None

    def kill_node(self, chance: random.Random, driver: Driver) -> str:
        """Kills a node that isn't the driver's, with all its workers, and adds another one."""
        nodes = [
            node for node in self.cluster.list_all_nodes() if not node.head and node.node_id != driver.node_id
        ]
        victim = chance.choice(nodes)
        self.cluster.remove_node(victim, allow_graceful=False)
        self.cluster.add_node(**_NODE)  # type: ignore[arg-type]
        return victim.node_id

    def replace(self, node: Any, **like: Any) -> Any:
        """Kills this node with all its workers, and adds another one."""
        self.cluster.remove_node(node, allow_graceful=False)
        return self.cluster.add_node(**(_NODE | like))  # type: ignore[arg-type]

    def wait_for_parts(self, out: Path, driver: Driver, *, more_than: int) -> None:
        until = time.monotonic() + _PATIENCE_S
        while driver.poll() is None and len(list((out / "rows").glob("part-*.parquet"))) <= more_than:
            if time.monotonic() > until:
                raise AssertionError("no part was written in time")
            time.sleep(0.1)

    @staticmethod
    def sleep(seconds: float) -> None:
        threading.Event().wait(seconds)

    def _model_workers(self) -> list[psutil.Process]:
        raylets = [
            info.process.pid
            for node in self.cluster.list_all_nodes()
            for info in node.all_processes.get("raylet", ())
        ]
        found = []
        for pid in raylets:
            try:
                children = psutil.Process(pid).children(recursive=True)
            except psutil.NoSuchProcess:
                continue
            for child in children:
                try:
                    if "MapWorker" in " ".join(child.cmdline()):
                        found.append(child)
                except psutil.NoSuchProcess:
                    continue
        return found

"""Workers of dask.distributed: on this machine, of a running scheduler, or in jobs of Slurm.

Whoever reaches a dask scheduler can run code as its owner. So the scheduler of this machine listens on 127.0.0.1 alone,
connections are encrypted with certificates made for this run, nobody without them gets in, and no dashboard is served.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from speechxai.errors import SpeechXAIError
from speechxai.io.executors import Work
from speechxai.io.orders import Ledger, Order, Task, UnitRecord
from speechxai.io.processes import thread_environment

CONNECT_S = 30
"""How long a scheduler and its first worker are waited for, s; jobs of Slurm may wait in their queue for as long as they like."""


def compute_on(order: Order, ledger: Ledger, work: Work) -> Iterator[UnitRecord]:
    """Hand out tasks, one for each thread of a worker at a time, and give their records as they come.

    A million tasks are never in the scheduler's memory at once, and when a worker is lost it is known which task it had.

    Raises:
        SpeechXAIError: no scheduler or workers, or the scheduler has gone.
    """
    from distributed import KilledWorker, as_completed

    running: dict[Any, Task] = {}
    with connect(order) as client:
        completed = as_completed(loop=client.loop)
        try:
            while True:
                n_slots = order.n_workers
                if "://" in order.scheduler:
                    n_slots = max(1, sum(client.nthreads().values()))
                while len(running) < n_slots and (task := ledger.take()) is not None:
                    name = f"speechxai-{uuid4().hex}"
                    future = client.submit(work, order, task, key=name, pure=False)
                    running[future] = task
                    completed.add(future)
                if not running:
                    return
                future = next(completed)
                task = running.pop(future)
                if future.cancelled():
                    raise SpeechXAIError(
                        f"The dask scheduler has gone or cancelled its tasks. Continue with 'speechxai evaluate --resume {order.run}'."
                    )
                try:
                    record = future.result()
                except KilledWorker:
                    yield from ledger.lose(task)
                else:
                    yield from ledger.settle(task, record)
        finally:
            client.cancel(list(running))


@contextmanager
def connect(order: Order) -> Iterator[Any]:
    """Start or find workers, and give the client that speaks with them; what was started ends with the context.

    Raises:
        SpeechXAIError: a scheduler that does not answer or has no workers, or a batch system that refuses.
    """
    import dask
    from distributed import Client

    quiet = logging.getLogger("distributed")
    level = quiet.level
    with ExitStack() as stack, dask.config.set(_settings(order)):
        quiet.setLevel(logging.CRITICAL)
        stack.callback(quiet.setLevel, level)
        try:
            if order.scheduler == "local":
                target: Any = stack.enter_context(_on_this_machine(order))
            elif order.scheduler == "slurm":
                target = stack.enter_context(_in_slurm_jobs(order, stack))
            else:
                target = order.scheduler
            client = Client(target, timeout=CONNECT_S, set_as_default=False, security=_security(order, target))
            stack.enter_context(client)
            if order.scheduler != "slurm":
                client.wait_for_workers(1, timeout=CONNECT_S)
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            raise SpeechXAIError(
                f"{_described(order.scheduler)}: {str(error).strip() or type(error).__name__}"
            ) from error
        yield client


def _settings(order: Order) -> dict[str, Any]:
    """Settings of dask while it works for us.

    A lost task comes back to us instead of being tried again by the scheduler, and no worker holds a task that waits: so
    a recording that kills its worker harms no other.
    """
    settings: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.work-stealing": False,
        "distributed.scheduler.dashboard.enabled": False,
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.worker.preload": ["speechxai.io.processes"],
        # A recording may take minutes and holds the interpreter at times: its worker is not lost because it is busy.
        "distributed.scheduler.worker-ttl": "30 minutes",
        "distributed.admin.tick.limit": "1h",
    }
    settings |= {
        f"distributed.nanny.pre-spawn-environ.{name}": value
        for name, value in thread_environment(order.n_threads).items()
    }
    return settings


def _on_this_machine(order: Order) -> Any:
    from distributed import LocalCluster
    from distributed.security import Security

    return LocalCluster(
        n_workers=order.n_workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # a port that answers nothing; not a fixed one
        security=Security.temporary(),
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    )


def _in_slurm_jobs(order: Order, stack: ExitStack) -> Any:
    from dask_jobqueue import SLURMCluster

    asked: Mapping[str, Any] = order.cluster
    folder = Path(order.run) / "cluster"
    folder.mkdir(mode=0o700, exist_ok=True)
    directives = list(asked.get("directives", ()))
    if asked.get("gpus"):
        directives.append(f"--gres=gpu:{asked['gpus']}")
    cluster = SLURMCluster(
        queue=asked.get("queue"),
        account=asked.get("account"),
        cores=1,  # one recording at a time; the network itself uses the cores of the job
        job_cpu=asked["cores"],
        processes=1,
        memory=asked["memory"],
        walltime=asked["walltime"],
        interface=asked.get("interface"),
        protocol="tls://" if asked["tls"] else "tcp://",
        security=_certificates(folder, stack) if asked["tls"] else None,
        log_directory=str(folder),
        job_name="speechxai",
        job_extra_directives=directives,
        job_script_prologue=[*asked.get("prologue", ()), *_exports(order)],
        worker_extra_args=["--no-dashboard", "--memory-limit", "0"],
        scheduler_options={"dashboard_address": None, "dashboard": False},
        silence_logs=logging.CRITICAL,
    )
    # A job that ends, by its time limit or with its node, is asked for again.
    cluster.adapt(minimum_jobs=order.n_workers, maximum_jobs=order.n_workers)
    return cluster


def _certificates(folder: Path, stack: ExitStack) -> Any:
    """Make certificates for this run alone, in files that only its owner reads and that go when the context ends."""
    from distributed.security import Security

    made, files = Security.temporary(), {}
    for name, content in (("cert", made.tls_client_cert), ("key", made.tls_client_key)):
        path = folder / f".{name}.{uuid4().hex}.pem"
        stack.callback(path.unlink, missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(str(content))
        files[name] = str(path)
    roles = {f"tls_{role}_{name}": path for role in ("client", "scheduler", "worker") for name, path in files.items()}
    return Security(tls_ca_file=files["cert"], require_encryption=True, **roles)


def _exports(order: Order) -> list[str]:
    return [f"export {name}={value}" for name, value in thread_environment(order.n_threads).items()]


def _security(order: Order, target: Any) -> Any:
    """Certificates for a running scheduler with the protocol tls, or those of the cluster that was started here."""
    if not isinstance(target, str):
        return target.security
    if not target.startswith("tls://"):
        return None
    from distributed.security import Security

    files = [order.cluster.get(key) for key in ("tls_ca_file", "tls_cert", "tls_key")]
    if any(file is None for file in files):
        raise SpeechXAIError(
            f"{target}: needs the keys tls_ca_file, tls_cert and tls_key in the table [cluster] of the configuration."
        )
    authority, certificate, key = files
    return Security(tls_ca_file=authority, tls_client_cert=certificate, tls_client_key=key, require_encryption=True)


def _described(scheduler: str) -> str:
    if scheduler == "slurm":
        return "Slurm: no jobs could be started"
    return (
        "No local workers could be started"
        if scheduler == "local"
        else f"{scheduler}: no dask scheduler with workers answers"
    )

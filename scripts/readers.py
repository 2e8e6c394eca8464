"""Simulated readers on one server process, over the app's own websocket: does every answer arrive, and does a page tell
what it must not?

    python scripts/readers.py 20                 twenty readers at once finish the demonstration study
    python scripts/readers.py 4 --kill           the server is killed (kill -9) in the middle, and started again

Each reader answers every page as a browser does, with a text of its own as comment. Then every answer that the server
took is looked for in the study's file. Of every byte that reached a reader it is counted how often a recording's name,
a speaker or a kind of explanation stands in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from speechxai.readers import design
from speechxai.readers.material import prepare
from speechxai.readers.store import Store, beside, readings

ROOT = Path(__file__).resolve().parents[1]


def start(study: Path, port: int) -> subprocess.Popen[bytes]:
    """Start the app on a study and wait until it answers."""
    words = [sys.executable, "-m", "speechxai", "app", "--study", str(study), "--port", str(port), "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        words, env=environment, cwd=study.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
                return process
        except OSError:
            time.sleep(0.3)
    raise SystemExit("The server did not start.")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def replies(page: dict[str, Any], rng: random.Random, mark: str) -> dict[str, Any]:
    """Answers to a page, drawn; every comment holds the mark."""
    found: dict[str, Any] = {}
    for question in page["questions"]:
        values = [value for value, _ in question["options"]]
        kind = question["kind"]
        if kind == "choice":
            found[question["name"]] = rng.choice(values)
        elif kind == "several":
            found[question["name"]] = [rng.choice(values)]
        elif kind == "text":
            found[question["name"]] = mark
        else:
            found[question["name"]] = [[0.1, 0.4, 500, 1500]]
    return found


class Reader:
    """One reader's browser, without the pictures."""

    def __init__(self, port: int, code: str, seed: int) -> None:
        self.port, self.code, self.rng = port, code, random.Random(seed)  # noqa: S311
        self.taken: list[tuple[int, str, dict[str, Any]]] = []
        self.heard: list[bytes] = []
        self.waits_s: list[float] = []

    async def run(self) -> None:
        """Answer until the end; where the server goes away, come again."""
        while True:
            try:
                await self._session()
                return
            except (TimeoutError, OSError, EOFError):
                await asyncio.sleep(0.5)
            except Exception as error:
                if type(error).__module__.split(".")[0] != "websockets":
                    raise
                await asyncio.sleep(0.5)

    async def _session(self) -> None:
        import websockets
        from streamlit.proto.BackMsg_pb2 import BackMsg
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
        from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates

        address = f"ws://127.0.0.1:{self.port}/_stcore/stream"
        async with websockets.connect(address, subprotocols=["streamlit"], max_size=None) as link:
            message = BackMsg()
            message.rerun_script.query_string = f"reader={self.code}"
            await link.send(message.SerializeToString())
            sent: tuple[int, str, dict[str, Any]] | None = None
            asked_at = time.perf_counter()
            while True:
                page, name = None, ""
                while True:
                    raw = await asyncio.wait_for(link.recv(), 120)
                    self.heard.append(bytes(raw))
                    found = ForwardMsg.FromString(raw)
                    element = found.delta.new_element if found.WhichOneof("type") == "delta" else None
                    if element is not None and element.WhichOneof("type") == "bidi_component":
                        data = element.bidi_component.bytes
                        if data[:4] == b"SXR1":
                            (length,) = struct.unpack("<I", data[4:8])
                            page, name = json.loads(data[8 : 8 + length]), element.bidi_component.id
                    if found.WhichOneof("type") == "script_finished" and page is not None:
                        break
                self.waits_s.append(time.perf_counter() - asked_at)
                if page["error"]:
                    raise SystemExit(f"{self.code}: {page['error']}")
                if sent is not None and (page["slot"], page["stage"]) == sent[:2]:
                    raise SystemExit(f"{self.code}: the answer to {sent[:2]} was not taken.")
                if sent is not None:
                    self.taken.append(sent)
                if not page["button"]:
                    return
                answers = replies(page, self.rng, f"mark-{self.code}-{page['slot']}-{self.rng.random()}")
                sent = (page["slot"], page["stage"], answers)
                value = {"slot": page["slot"], "stage": page["stage"], "answers": answers}
                value |= {"rt_ms": 1000 * self.rng.random(), "plays": 1, "played_s": 0.5, "paused_ms": 0.0}
                message = BackMsg()
                message.rerun_script.query_string = f"reader={self.code}"
                payload = json.dumps([{"event": "answer", "value": value}])
                state = WidgetState(id=f"$$STREAMLIT_INTERNAL_KEY_{name}__events", json_trigger_value=payload)
                own = WidgetState(id=name, json_value="{}")
                message.rerun_script.widget_states.CopyFrom(WidgetStates(widgets=[own, state]))
                asked_at = time.perf_counter()
                await link.send(message.SerializeToString())


async def everybody(readers: list[Reader], killed: Any) -> None:
    """All readers at once, and the killing where it is asked for."""
    await asyncio.gather(*(reader.run() for reader in readers), killed())


def told(readers: list[Reader], cases: list[design.Case]) -> dict[str, int]:
    """How often something that must not be told stands in what reached a reader."""
    words = {str(case.facts[name]) for case in cases for name in ("recording", "speaker") if name in case.facts}
    words |= {str(word) for case in cases for word in (case.facts.get("recording", "").split("/")) if len(word) > 5}
    words |= {"turned_round", "permuted", "facts", "metrics"}
    words |= {kind for kind in design.KINDS if kind != "elsewhere"}
    found: dict[str, int] = {}
    for word in sorted(words):
        n = sum(raw.count(word.encode()) for reader in readers for raw in reader.heard)
        if n:
            found[word] = n
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the readers and say what was lost and told; 0 where nothing was."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("n", type=int, nargs="?", default=20, help="readers at once")
    parser.add_argument("--kill", action="store_true", help="kill -9 the server in the middle and start it again")
    parser.add_argument("--study", type=Path, help="a prepared study; by default the demonstration, made anew")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        study_file = given.study or Path(folder) / "study.toml"
        if given.study is None:
            study_file.write_text(design.template(demo=True).replace("readers = 4", f"readers = {given.n}"))
        study = design.load(study_file)
        store = Store(beside(study_file))
        store.begin(study)
        cases = store.cases() or prepare(study, store)
        port = free_port()
        servers = [start(study_file, port)]
        readers = [Reader(port, code, seed) for seed, code in enumerate(design.codes(study)[: given.n])]

        async def kill() -> None:
            if not given.kill:
                return
            while sum(len(reader.taken) for reader in readers) < 5 * len(readers):
                await asyncio.sleep(0.05)
            servers[-1].send_signal(signal.SIGKILL)
            servers[-1].wait()
            print(f"killed after {sum(len(reader.taken) for reader in readers)} answers")
            servers.append(await asyncio.to_thread(start, study_file, port))

        began = time.perf_counter()
        try:
            asyncio.run(everybody(readers, kill))
        finally:
            servers[-1].terminate()
            servers[-1].wait()
        wall = time.perf_counter() - began
        kept = store.answers()
        lost = wrong = n_taken = 0
        for reader in readers:
            for slot, stage, answers in reader.taken:
                n_taken += 1
                content = kept.get((reader.code, slot, stage), (None, 0.0))[0]
                lost += content is None
                wrong += content is not None and any(
                    content.get(name) != value for name, value in answers.items() if name != "box"
                )
        waits = sorted(wait for reader in readers for wait in reader.waits_s)
        table = readings(store, study)
        planned = given.n * study.n_rounds * study.cases.n
        leaks = told(readers, cases)
        print(f"{given.n} readers at once on one server process, {wall:.0f} s")
        print(f"answers taken: {n_taken}, in the file: {len(kept)}, lost: {lost}, altered: {wrong}")
        print(f"finished readings: {len(table)} of {planned}")
        print(f"a page's answer until the next page: median {waits[len(waits) // 2]:.2f} s, slowest {waits[-1]:.2f} s")
        n_bytes = sum(len(raw) for reader in readers for raw in reader.heard)
        print(f"what must not be told, in {n_bytes / 1e6:.0f} MB that reached readers: {leaks or 'nothing'}")
        return int(bool(lost or wrong or len(table) != planned or leaks))


if __name__ == "__main__":
    raise SystemExit(main())

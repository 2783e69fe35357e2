"""The load process of an embedded engine: `python -m headwater.bench.latency.embedded_load FD OPTIONS`.

An embedded engine answers in its caller's process, so its load has to come from there: `workers` threads, as an
application has them. There is no separate generator that would compete with them for the interpreter: each free worker
takes the next request of the schedule, sleeps until it is due, and asks. When all are busy, requests wait, and their
wait counts. What the command does with the results is done in another process.

Its floors: `no-op call`, the cheapest question through the same door (is an item known?) in the place of every
question, and in the place of every `track` the two synced writes that an acknowledgement costs the disk at least.
"""

from __future__ import annotations

import gc
import itertools
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from headwater.bench.disk import SyncedWrites
from headwater.bench.latency.asking import Asking
from headwater.bench.latency.jobs import TARGET, Done, Job, Probe, Ready, serve
from headwater.bench.latency.population import Population, sampled_pairs
from headwater.bench.latency.records import ANSWERED, DEGRADED, ERROR, REFUSED, TIMED_OUT, Records
from headwater.bench.latency.schedule import VERBS, schedule
from headwater.engine import Engine
from headwater.errors import HeadwaterError, NotReady, StoreFull

FLOOR = "no-op call"
_PROBE_ANSWERS = 200

Call = Callable[[int], int]
"""Puts request number so and so; its outcome."""


class EmbeddedOptions(Asking, kw_only=True):
    """What the load process is started with. `clock`: a history that ended long ago would leave every time window empty
    by the wall clock."""

    directory: str
    workers: int = 8
    threads: int | None = None
    clock: Literal["wall", "log"] = "log"


class EmbeddedLoad:
    """An open engine and who asks it."""

    def __init__(self, options: EmbeddedOptions, records: Records) -> None:
        self._options = options
        self._records = records
        started = time.monotonic()
        self._engine = Engine.open(options.directory, threads=options.threads, clock=options.clock)
        opened = time.monotonic() - started
        pairs = sampled_pairs(self._engine.log)
        self._population = Population(pairs, options.choice, options.exponent, options.strangers)
        self._try_each_question(pairs.users[0], pairs.items[0])
        self._floor = SyncedWrites(Path(options.directory))
        self._probe_numbers = itertools.count()
        status = self._engine.status()
        facts = {name: status[name] for name in ("profile", "users", "items", "position", "log_bytes")}
        facts |= {"events": sum(status["outcomes"].values()), "opened_s": round(opened, 3)}
        facts |= {"sampled_events": len(pairs.users), "threads": self._engine.config.engine.threads}
        self.ready = Ready(floors=[FLOOR], facts=facts)

    def _try_each_question(self, user: str, item: str) -> None:
        """Ask once what does not write, so that a wrong scenario or filter is refused before there is load."""
        calls = self._calls([user], [item])
        for verb in VERBS:
            if verb != "track":
                calls[verb](0)

    def run(self, job: Job) -> Done:
        """One turn on the engine or on the floor."""
        plan = schedule(job.turn)
        users, items = self._population.user(plan.draw), self._population.item(plan.draw)
        by_verb = self._calls(users, items) if job.subject == TARGET else self._floor_calls(items)
        calls = [by_verb[VERBS[verb]] for verb in plan.verb.tolist()]
        due = plan.due_ns.tolist()
        gc.collect()
        messages: list[str] = []
        cpu, started = time.process_time(), time.monotonic_ns() + 20_000_000
        numbers = itertools.count()
        arguments = (due, calls, numbers, started, int(job.patience_s * 1e9), messages)
        threads = [threading.Thread(target=self._work, args=arguments) for _ in range(self._options.workers)]
        for thread in threads:
            thread.start()
        probes = self._probe(job, started) if job.subject == TARGET and job.probes else []
        for thread in threads:
            thread.join()
        ended = time.monotonic_ns()
        if job.subject == TARGET:
            self._engine.flush()
        used = time.process_time() - cpu
        return Done(started=started, ended=ended, cpu_s=used, probes=probes, error_messages=messages[:5])

    def _work(
        self, due: list[int], calls: list[Call], numbers: Any, started: int, patience: int, messages: list[str]
    ) -> None:
        """One worker: the next request, when it is due, until there is none."""
        precise_sleep()
        now, sleep, records = time.monotonic_ns, time.sleep, self._records
        while (number := next(numbers)) < len(due):
            at = started + due[number]
            free = woke = now()
            while woke < at:
                sleep((at - woke) / 1e9)
                woke = now()
            records.begin(number, free, woke)
            if woke - at > patience:
                records.end(number, woke, TIMED_OUT)
                continue
            try:
                outcome = calls[number](number)
            except (NotReady, StoreFull) as err:
                outcome = REFUSED
                messages.append(err.message)
            except HeadwaterError as err:
                outcome = ERROR
                messages.append(err.message)
            records.end(number, now(), outcome)

    def _calls(self, users: list[str], items: list[str]) -> dict[str, Call]:
        engine, o = self._engine, self._options

        def recommend(i: int) -> int:
            slate = engine.recommend(users[i], o.n, scenario=o.scenario, filter=o.filter, record=o.record)
            return DEGRADED if slate.degraded else ANSWERED

        def similar(i: int) -> int:
            engine.similar(items[i], o.n)
            return ANSWERED

        def session(i: int) -> int:
            engine.session([items[i]], o.n, scenario=o.scenario, filter=o.filter)
            return ANSWERED

        def trending(i: int) -> int:
            engine.trending(n=o.n)
            return ANSWERED

        def track(i: int) -> int:
            engine.track("view", user=users[i], item=items[i])
            return ANSWERED

        found: dict[str, Call] = {
            "recommend": recommend,
            "similar": similar,
            "session": session,
            "trending": trending,
            "track": track,
        }
        assert tuple(found) == VERBS
        return found

    def _floor_calls(self, items: list[str]) -> dict[str, Call]:
        engine, floor = self._engine, self._floor

        def question(i: int) -> int:
            _ = items[i] in engine
            return ANSWERED

        def write(i: int) -> int:
            floor.write()
            return ANSWERED

        floors: dict[str, Call] = dict.fromkeys(VERBS, question)
        return floors | {"track": write}

    def _probe(self, job: Job, started: int) -> list[Probe]:
        """Freshness probes beside the load: this thread writes, another asks until an answer knows of it."""
        written: queue.SimpleQueue[tuple[str, str, int] | None] = queue.SimpleQueue()
        probes: list[Probe] = []
        reader = threading.Thread(target=self._watch, args=(written, probes))
        reader.start()
        precise_sleep()
        names = self._population.items.names
        for at in np.arange(0.5, job.turn.seconds * job.probes) / job.probes * 1e9 + started:
            time.sleep(max(0.0, (at - time.monotonic_ns()) / 1e9))
            number = next(self._probe_numbers)
            user, item = f"freshness probe {number}", names[number % len(names)]
            self._engine.track("view", user=user, item=item)
            written.put((user, item, time.monotonic_ns()))
        written.put(None)
        reader.join()
        return probes

    def _watch(self, written: queue.SimpleQueue[tuple[str, str, int] | None], probes: list[Probe]) -> None:
        while (probe := written.get()) is not None:
            user, item, acknowledged = probe
            visible = answers = 0
            while not visible and answers < _PROBE_ANSWERS:
                answers += 1
                slate = self._engine.recommend(user, self._options.n, record=False)
                if item in slate.about:
                    visible = time.monotonic_ns()
            probes.append(Probe(acknowledged, visible, answers))


def precise_sleep() -> None:
    """Let this thread's sleeps end when they should: Linux otherwise puts wake-ups off by 50 us to bundle them."""
    try:
        Path(f"/proc/{threading.get_native_id()}/timerslack_ns").write_text("1")
    except OSError:
        return  # not Linux, or not allowed: lateness is measured in any case


def _open() -> tuple[Ready, Callable[[Job], Done]]:
    fd, text = sys.argv[1:]
    load = EmbeddedLoad(msgspec.json.decode(text, type=EmbeddedOptions), Records(int(fd)))
    return load.ready, load.run


if __name__ == "__main__":
    serve(_open)

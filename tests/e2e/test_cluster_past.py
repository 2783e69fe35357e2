"""The past of a cluster is asked of its log: as_of, explanations, replay and verification with `--url`."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from cluster_rig import wait_for
from headwater import Engine
from headwater.cli import main
from headwater.cluster_log import cluster_log, find_log
from headwater.config import Config, config_from_table
from headwater.errors import InvalidQuery, StoreError, Unavailable
from headwater.events.nats_server import NatsServer
from headwater.events.types import Feedback, SlateServed
from headwater.host_replay import SILENT
from headwater.served_slates import ServedSlates, find_record
from host_rig import Hosts, hosts
from nats_server import nats_server, options  # noqa: F401 - a fixture

pytestmark = pytest.mark.e2e

START = 1_795_000_000_000


def config() -> Config:
    return config_from_table({"generation": {"partitions": 8, "shards": 4}})


@pytest.fixture(scope="module")
def shop(nats_server: NatsServer) -> Iterator[Hosts]:  # noqa: F811
    """Hosts that answer while events come, so that they stand at different positions."""
    with hosts(nats_server, config(), 2, 2) as running, running.client() as client:
        client.put_items({"item": f"i{n}", "categories": [f"c{n % 3}"], "labels": {"price": n}} for n in range(30))
        first = [Feedback(type="view", user=f"u{n % 20}", item=f"i{n % 17}", ts=START + n * 1000) for n in range(300)]
        client.track_many(first)
        done = threading.Event()

        def come() -> None:
            with running.client() as other:
                for n in range(10_000):
                    if done.is_set():
                        return
                    other.track("view", user=f"u{n % 23}", item=f"i{n % 29}", ts=START + 400_000 + n)

        coming = threading.Thread(target=come)
        coming.start()
        for n in range(150):
            client.recommend(f"u{n % 20}", 5, now=START + 500_000, exploration=0.2)
        done.set()
        coming.join()

        def recorded() -> bool:
            with cluster_log(running.options, running.namespace) as (log, found):
                return len(ServedSlates(log, found.generation.max_future_ms)) == 150

        wait_for("slates are recorded", recorded)
        yield running


def run(running: Hosts, *arguments: str, code: int = 0) -> Any:
    """A command with --url, in this process; what it printed as JSON."""
    command, *rest = arguments
    url = ["--url", running.options.url, "--namespace", running.namespace]
    done = CliRunner().invoke(main, [command, *url, *rest, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.output)


def test_every_slate_of_hosts_that_stood_apart_is_made_again(shop: Hosts) -> None:
    with cluster_log(shop.options, shop.namespace) as (log, found):
        records = list(ServedSlates(log, found.generation.max_future_ms))
    assert any(len(set(record.positions)) > 1 for record in records), "else this shows nothing new"
    report = run(shop, "verify", "--slates")
    assert report["problems"] == []
    assert report["equal"]
    assert (report["slates"]["slates"], report["slates"]["identical"]) == (150, 150)
    replayed = run(shop, "replay", "--slate", records[-1].slate)
    assert replayed["identical"]


def test_slates_of_which_a_host_answered_only_some_scatters_are_made_again(
    nats_server: NatsServer,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hosts(nats_server, config(), 1, 3) as running, running.client() as client:
        client.put_items({"item": f"i{n}", "categories": [f"c{n % 3}"]} for n in range(30))
        bought = [Feedback(type="purchase", user=f"u{n % 7}", item=f"i{n % 9}", ts=START + n) for n in range(60)]
        told = client.track_many(bought)
        draw = random.Random(1)

        def sometimes(_: int, always: bool) -> Unavailable | None:
            return Unavailable("not now", retry_after_ms=1) if not always and draw.random() < 0.5 else None

        asked: dict[str, Any] = {"sources": {"bought_together": 1.0}, "now": START + 500_000, "after": told}
        running.shut("i1")
        with monkeypatch.context() as patched:
            patched.setattr(running.hosts["i1"]._endpoint, "_refusal", sometimes)
            slates = [client.recommend(f"u{n % 9}", 20, **asked) for n in range(30)]

        def recorded() -> list[SlateServed] | None:
            with cluster_log(running.options, running.namespace) as (log, found):
                records = list(ServedSlates(log, found.generation.max_future_ms))
            return records if len(records) == len(slates) else None

        records = wait_for("slates are recorded", recorded)
        report = run(running, "verify", "--slates")
    rounds = [(record.extra or {}).get("rounds", []) for record in records]
    answered = {tuple(told[2] != SILENT for told in of_slate) for of_slate in rounds}
    assert answered >= {(True, False), (False, True)}, "else this shows nothing new"
    assert all(len(record.positions) == 4 - len(record.left_out) for record in records)
    assert (report["slates"]["slates"], report["slates"]["identical"]) == (30, 30)


def test_the_past_is_answered_from_the_log(shop: Hosts) -> None:
    with cluster_log(shop.options, shop.namespace) as (log, _):
        frames = [frame for batch in log.read() for frame in batch.frames]
    at = len(frames) // 2  # how many frames the hosts made of the events depends on how fast they were
    assert at > 2, "else nothing was told before"
    asked = ("recommend", "u3", "-n", "4", "--now", str(START), "--as-of", str(at))
    past = run(shop, *asked)
    assert past["positions"] == [at]
    with Engine.open(":memory:", config=config(), clock="log") as engine:
        engine._runtime.append_frames(frames[:at])
        engine._runtime.fold()
        expected = engine.recommend("u3", 4, now=START, record=False)
    assert [(slot["item"], slot["score"]) for slot in past["items"]] == [(r.item, r.score) for r in expected]
    assert run(shop, "replay", "--until", str(at))["position"] == at


@pytest.mark.parametrize("asked", [{}, {"now": START + 500_000}], ids=["by the core", "by Python"])
def test_slates_that_no_host_remembers_are_explained_from_the_log(shop: Hosts, asked: dict[str, Any]) -> None:
    with shop.client() as client:
        slate = client.recommend("u3", 3, **asked)
    item = slate.items[0].item
    told = run(shop, "explain", slate.id, item)

    def recorded() -> bool:
        with cluster_log(shop.options, shop.namespace) as (log, _):
            return find_record(slate.id, log) is not None

    wait_for("the record is in the log", recorded)
    with shop.client() as client:
        # What the core answers and what Python does is remembered apart, the latest 1,000 each.
        client.recommend_many(["u3"] * 1001, 1, record=False, **asked)
        with pytest.raises(InvalidQuery, match="is not remembered here"):
            client.explain(slate.id, item)
    again = run(shop, "explain", slate.id, item)
    assert (again["slot"], again["score"], again["events"]) == (0, told["score"], told["events"])
    assert "audit" in run(shop, "explain", slate.id, item, "--audit")


def test_a_namespace_without_a_log_is_said(nats_server: NatsServer) -> None:  # noqa: F811
    with pytest.raises(StoreError, match="none"):
        find_log(options(nats_server), "nowhere")

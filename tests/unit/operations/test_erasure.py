"""A user's events leave the log, and what is left is the log of a shop that never had them."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from random import Random

import pytest

from headwater import Engine
from headwater.errors import InvalidInput, InvalidQuery, StoreClosed, StoreError
from headwater.events import replacement
from headwater.events.log import decode_frames
from headwater.events.types import Event, Feedback, MergeCarried, SlateServed
from headwater.receipts import check
from headwater.slate_record import SlateRecorder

START = 1_700_000_000_000
ITEMS = [f"i{n}" for n in range(8)]
SECRET = "ann@example.org"


def open_shop(directory: Path) -> Engine:
    return Engine.open(directory, clock="log")


def history(engine: Engine, without: frozenset[str] = frozenset(), seed: int = 1) -> None:
    """The same history with or without some users: single events, groups, labels, merges, slates."""
    random = Random(seed)
    for item in ITEMS:
        engine.put_item(item, categories=[item[-1]])
    users = [SECRET, "anon-7", "anon-8", "bob", "visitor-b", "cem"]
    for n in range(200):
        user, item = random.choice(users), random.choice(ITEMS)
        kind = random.choice(["view", "view", "cart", "purchase"])
        size = random.choice([1, 1, 3])
        group = [
            Feedback(
                kind, user if k == 0 else random.choice(users), item, START + n * 50_000 + k, session=f"s{n // 30}"
            )
            for k in range(size)
        ]
        kept = [event for event in group if event.user not in without]
        if kept:
            engine.track_many(kept)
        if n in (60, 90, 120):  # the log's clock, by which merges and puts are dated, is nobody's in particular
            engine.track("view", user="cem", item="i0", ts=START + n * 50_000 + 40_000)
        if n == 60 and "bob" not in without:
            engine.merge("visitor-b", "bob")
        if n == 90 and SECRET not in without:
            engine.merge("anon-7", SECRET)
        if n == 120:
            if SECRET not in without:
                engine.put_user(SECRET, labels={"country": "de"})
            engine.put_user("cem", labels={"country": "fr"})


def events_of(engine: Engine) -> list[Event]:
    return [event for batch in engine.log.read() for _, _, events in decode_frames(batch) for event in events]


THEIRS = frozenset({SECRET, "anon-7"})


def test_the_state_is_the_one_of_a_log_that_never_had_them(tmp_path: Path) -> None:
    with open_shop(tmp_path / "with") as engine, open_shop(tmp_path / "without") as other:
        history(engine)
        history(other, THEIRS)
        assert engine.digest() != other.digest()
        before = engine.position
        erased = engine.erase(SECRET)
        assert engine.digest() == other.digest()
        receipt = erased.receipt
        assert (receipt.digest, receipt.position) == (other.digest()["whole"], other.position)
        assert receipt.ids == 2
        assert receipt.position_before == before + 2  # forgotten first, both ids
        assert engine.verify().equal
        assert events_of(engine)[1:] == events_of(other)[1:]  # but for when the configuration was activated


def test_slates_from_before_are_not_expected_to_come_out_alike(tmp_path: Path) -> None:
    with open_shop(tmp_path / "shop") as engine:
        history(engine)
        engine.recommend("cem", 3)
        engine.flush()
        assert engine.verify(slates=True).slates.slates == 1  # type: ignore[union-attr]
        engine.erase(SECRET)
        engine.track("view", user="cem", item="i1", ts=START + 10**9)
        engine.recommend("cem", 3)
        engine.flush()
        report = engine.verify(slates=True)
        assert report.equal
        assert report.slates is not None
        assert (report.slates.slates, report.slates.identical) == (1, 1)


def test_a_slate_that_is_recorded_late_names_positions_of_the_new_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_shop(tmp_path / "shop") as engine:
        history(engine)
        go = threading.Event()
        commit = SlateRecorder._write

        def late(recorder: SlateRecorder, group: list[SlateServed]) -> None:
            assert go.wait(60)
            commit(recorder, group)

        monkeypatch.setattr(SlateRecorder, "_write", late)
        slate = engine.recommend("cem", 3)
        erased = engine.erase(SECRET)
        go.set()
        engine.flush()
        [record] = [e for e in events_of(engine) if isinstance(e, SlateServed)]
        assert record.slate == slate.id
        assert slate.positions == [erased.receipt.position_before - 2]
        assert record.positions == [erased.receipt.position]
        assert engine.verify(slates=True).equal


def test_no_byte_of_theirs_is_left(tmp_path: Path) -> None:
    with open_shop(tmp_path / "shop") as engine:
        history(engine)
        engine.snapshot()
        engine.recommend(SECRET, 3)
        engine.flush()
        bad = tmp_path / "bad.csv"
        bad.write_text(f"user,item,type,ts\n{SECRET},i1,view,never\n,i1,view,5\nx,{SECRET},view,1{'0' * 20}\n")
        engine.ingest(bad, progress=False)
        erased = engine.erase("anon-7")  # any of their ids
        assert check(tmp_path / "shop", erased.file, SECRET) == erased.receipt
    for file in (tmp_path / "shop").rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file
            assert b"anon-7" not in file.read_bytes(), file
    assert not (tmp_path / "shop" / replacement.NEXT).exists()


def test_it_stays_so_when_opened_again(tmp_path: Path) -> None:
    with open_shop(tmp_path / "shop") as engine:
        history(engine)
        engine.erase(SECRET)
        digest = engine.digest()
        engine.track("view", user="bob", item="i1", ts=START + 10**9)
        after = engine.digest()
        assert after != digest
    with open_shop(tmp_path / "shop") as engine:
        assert engine.digest() == after
        assert engine.verify().equal
        with pytest.raises(InvalidQuery, match="no state"):
            engine.session_of(SECRET)
        engine.track("view", user="bob", item="i2", ts=START + 2 * 10**9)
        assert "repeat-frame" not in engine.status()["outcomes"]


def test_the_engine_answers_and_writes_meanwhile(tmp_path: Path) -> None:
    with open_shop(tmp_path / "shop") as engine:
        history(engine)
        stop = threading.Event()
        written: list[str] = []
        faults: list[BaseException] = []

        def work() -> None:
            n = 0
            try:
                while not stop.is_set():
                    engine.track("view", user=f"w{n % 5}", item=f"i{n % 8}", ts=START + 10**8 + n * 10_000)
                    written.append(f"w{n % 5}")
                    assert len(engine.recommend(f"w{n % 5}", 3, record=n % 2 == 0)) <= 3
                    n += 1
            except Exception as err:  # noqa: BLE001
                faults.append(err)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for user in (SECRET, "cem", "bob"):
                engine.erase(user)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert faults == []
        engine.flush()
        feedback = [
            e for b in engine.log.read() for _, _, es in decode_frames(b) for e in es if isinstance(e, Feedback)
        ]
        assert sum(e.user.startswith("w") for e in feedback) == len(written)
        assert {e.user for e in feedback} <= {f"w{n}" for n in range(5)} | {"anon-8"}
        assert engine.verify().equal


def test_what_other_merges_carried_is_sealed_anew(tmp_path: Path) -> None:
    """Bob's merge names positions of events, and those moved."""
    with open_shop(tmp_path / "shop") as engine:
        history(engine)
        before = [(i.item, i.event.type) for i in engine.session_of("bob").state.items]
        engine.erase(SECRET)
        [carried] = [e for e in events_of(engine) if isinstance(e, MergeCarried)]
        assert (carried.from_user, carried.into_user) == ("visitor-b", "bob")
        items = engine.session_of("bob").state.items
        assert [(i.item, i.event.type) for i in items] == before
        for item in items:
            slate = engine.recommend("bob", 3, record=False)
            assert slate.positions == [engine.position]
            [batch] = engine.log.read(item.event.position, stop=item.event.position + 1)
            [(_, _, events)] = decode_frames(batch)
            event = events[item.event.index]
            assert isinstance(event, Feedback)
            assert (event.item, event.type, event.ts) == (item.item, item.event.type, item.event.ts)


def test_erasing_an_account_after_it_was_forgotten_finds_what_was_merged(tmp_path: Path) -> None:
    with open_shop(tmp_path / "with") as engine, open_shop(tmp_path / "without") as other:
        history(engine)
        history(other, THEIRS)
        engine.forget(SECRET)
        assert engine.erase(SECRET).receipt.ids == 2
        assert engine.digest() == other.digest()


def test_a_visitor_who_was_carried_leaves_the_account_too(tmp_path: Path) -> None:
    """Forgotten and used again by somebody else: only that id's events go, also from the account they once joined."""
    with open_shop(tmp_path / "shop") as engine:
        engine.track("view", user="tablet", item="i1", ts=START)
        engine.track("view", user="ann", item="i2", ts=START + 1000)
        engine.merge("tablet", "ann")
        engine.forget("ann")
        engine.track("view", user="ann", item="i3", ts=START + 2000)
        engine.track("view", user="tablet", item="i4", ts=START + 3000)
        engine.erase("tablet")
        assert [i.item for i in engine.session_of("ann").state.items] == ["i3"]
        users = {
            e.user for b in engine.log.read() for _, _, es in decode_frames(b) for e in es if isinstance(e, Feedback)
        }
        assert users == {"ann"}


def test_erasing_nobody_changes_nothing(tmp_path: Path) -> None:
    with open_shop(tmp_path / "shop") as engine:
        history(engine)
        digest = engine.digest()
        receipt = engine.erase("never seen").receipt
        assert (receipt.events, receipt.frames, receipt.ids) == (1, 1, 1)  # the forgetting itself
        assert engine.digest() == digest


def test_an_import_is_still_known_afterwards(tmp_path: Path) -> None:
    rows = "".join(f"u{n % 9},i{n % 8},view,{START + n * 1000}\n" for n in range(300))
    (tmp_path / "events.csv").write_text("user,item,type,ts\n" + rows)
    with open_shop(tmp_path / "shop") as engine:
        engine.ingest(tmp_path / "events.csv", progress=False, chunk_rows=50)
        engine.erase("u3")
        position = engine.position
        again = engine.ingest(tmp_path / "events.csv", progress=False, chunk_rows=50)
        assert (again.events, again.resumed_rows, engine.position) == (0, 300, position)


def test_readers_of_the_old_log_are_told(tmp_path: Path) -> None:
    with open_shop(tmp_path / "shop") as engine:
        history(engine)
        with Engine.open(tmp_path / "shop", read_only=True) as reader:
            assert len(reader.recommend("bob", 3)) == 3
            engine.erase(SECRET)
            engine.track("view", user="bob", item="i1", ts=START + 10**9)
            with pytest.raises(StoreClosed, match="another log took this one's place"):
                reader.refresh()
        with Engine.open(tmp_path / "shop", read_only=True) as reader:
            assert reader.digest() == engine.digest()


@pytest.mark.parametrize("user", ["../../escape", "a/b", "..", "x" * 500, "<b>", "ж" * 200, "'; DROP TABLE frames; --"])
def test_no_id_becomes_a_path(tmp_path: Path, user: str) -> None:
    with open_shop(tmp_path / "shop") as engine:
        engine.track("view", user=user, item="i1", ts=START)
        engine.track("view", user="bob", item="i1", ts=START)
        erased = engine.erase(user)
        assert engine.session_of("bob").state.events == 1
    assert erased.file.parent == tmp_path / "shop" / "receipts"
    assert {p.name for p in tmp_path.iterdir()} == {"shop"}
    assert check(tmp_path / "shop", erased.file, user).events == 2


def test_a_receipt_is_signed(tmp_path: Path) -> None:
    with open_shop(tmp_path / "shop") as engine, open_shop(tmp_path / "other") as other:
        history(engine)
        erased = engine.erase(SECRET)
        other.erase("bob")
    assert os.stat(tmp_path / "shop" / "receipt.key").st_mode & 0o077 == 0
    assert SECRET not in erased.file.read_text()
    with pytest.raises(InvalidInput, match="another user"):
        check(tmp_path / "shop", erased.file, "bob")
    with pytest.raises(InvalidInput, match="not one of"):
        check(tmp_path / "other", erased.file, SECRET)
    plain = json.loads(erased.file.read_text())
    for field, value in (
        ("events", 0),
        ("digest", "0" * 32),
        ("signature", ""),
        ("signature", "\u00e9"),
        ("erased_at", 1),
    ):
        changed = tmp_path / "changed.json"
        changed.write_text(json.dumps(plain | {field: value}))
        with pytest.raises(InvalidInput, match="not one of"):
            check(tmp_path / "shop", changed, SECRET)
    (tmp_path / "changed.json").write_text("{}")
    with pytest.raises(InvalidInput, match="not a receipt"):
        check(tmp_path / "shop", tmp_path / "changed.json")


def test_nothing_is_erased_that_no_receipt_can_be_given_for(tmp_path: Path) -> None:
    with open_shop(tmp_path / "shop") as engine:
        history(engine)
        before = len(events_of(engine))
        (tmp_path / "shop" / "receipt.key").write_bytes(b"short")
        with pytest.raises(StoreError, match="5 bytes are no key"):
            engine.erase(SECRET)
        assert len(events_of(engine)) >= before


def test_memory_erases_nothing() -> None:
    with Engine.open(":memory:") as engine, pytest.raises(StoreError, match="in memory"):
        engine.erase("bob")


class Killed(BaseException):
    """As kill -9: nothing of the process runs after it."""


MOVES = ["log.sqlite3", "head", "snapshots", "deadletters", "archive"]


@pytest.mark.parametrize("moved", range(len(MOVES) + 1))
def test_an_exchange_that_is_cut_short_anywhere_is_whole_when_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    """The files as they lie after so many moves; a log that only took the place of half the old one would not open."""
    with open_shop(tmp_path / "shop") as engine, open_shop(tmp_path / "without") as other:
        history(engine)
        history(other, THEIRS)
        engine.snapshot()
        original = Path.replace

        def replace(self: Path, target: Path) -> Path:
            if self.parent.name == replacement.NEXT and self.name == (*MOVES, "")[moved]:
                raise Killed
            return original(self, target)

        def unlink(self: Path, missing_ok: bool = False) -> None:
            if self.name == "complete":
                raise Killed
            os.unlink(self) if self.exists() or not missing_ok else None

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            patch.setattr(Path, "unlink", unlink)
            with pytest.raises(Killed):
                engine.erase(SECRET)
        with pytest.raises(StoreError):
            engine.track("view", user="bob", item="i1")
        shutil.copytree(tmp_path / "shop", tmp_path / "killed")
        assert replacement.is_decided(tmp_path / "killed")
        with pytest.raises(StoreError, match="being replaced"):
            Engine.open(tmp_path / "killed", read_only=True)
        with open_shop(tmp_path / "killed") as again:
            assert again.digest() == other.digest()
            assert again.verify().equal
        assert not (tmp_path / "killed" / replacement.NEXT).exists()


def test_a_build_that_was_cut_short_leaves_the_old_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_shop(tmp_path / "shop") as engine:
        history(engine)

        def decide(directory: Path) -> None:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(replacement, "decide", decide)
            shutil.copytree(tmp_path / "shop", tmp_path / "earlier")
            with pytest.raises(Killed):
                engine.erase(SECRET)
        assert not (tmp_path / "shop" / replacement.NEXT).exists()
    shutil.copytree(tmp_path / "earlier", tmp_path / "earlier" / replacement.NEXT)
    with open_shop(tmp_path / "earlier") as again:
        assert again.session_of(SECRET).state.events > 0
        assert not (tmp_path / "earlier" / replacement.NEXT).exists()

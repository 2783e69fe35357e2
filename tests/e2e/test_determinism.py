"""Guarantees G1 and G2, embedded: one log, one digest, however it is folded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from e2e.fold_frames import fold, read_frames, write_frames
from headwater.actors.recovery import fold_log, recover
from headwater.actors.snapshots import DirectorySnapshots
from headwater.config import Config, default_config
from headwater.core import generation_of, new_core, restore_core
from headwater.events.frame import FrameWriter
from headwater.events.sqlite_log import SqliteLog
from headwater.events.subjects import subject_of
from headwater.events.types import Event, Feedback, ItemDelete, ItemPatch, ItemPut, UserForget, UserMerge
from headwater.simulate import START, simulate_shop

pytestmark = pytest.mark.e2e

SCRIPT = Path(__file__).with_name("fold_frames.py")
APPENDED = START + 60 * 86_400_000


def shop_frames(events: int, seed: int) -> list[bytes]:
    """The log of a simulated shop: imports of many rows, single events, catalogue changes, erasure, a damaged frame."""
    shop = simulate_shop(seed, events)
    half = len(shop.events) // 2
    with hw.Engine.open(":memory:") as engine:
        engine.put_items(shop.items)
        engine.ingest(shop.events[:half], progress=False)
        for row in shop.events[half : half + 150].iter_rows(named=True):
            engine.track(row["type"], user=row["user"], item=row["item"], ts=row["ts"], session=row["session"])
        engine.patch_item(shop.items[0]["item"], labels={"brand": "none"}, is_hidden=True)
        engine.delete_item(shop.items[1]["item"])
        engine.forget("u1")
        engine.merge("u2", "u3")
        engine.merge("u4", "new-account")
        engine.ingest(shop.events[half:].with_columns(event_id=pl.col("ts").cast(pl.String)), progress=False)
        frames = [frame for batch in engine.log.read() for frame in batch.frames]
    frames.insert(len(frames) // 2, frames[-1][:-3] + b"\0\0\0")
    return [*frames, frames[7]]


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    return shop_frames(12_000, seed=5)


@pytest.fixture(scope="module")
def digest(frames: list[bytes]) -> dict[str, str]:
    """One thread, one frame at a time."""
    return fold(frames, 1, 1).digest()


def test_the_log_holds_what_could_tell_folds_apart(frames: list[bytes]) -> None:
    core = fold(frames, 1, 1)
    outcomes = core.stats()["outcomes"]
    assert outcomes["applied"] > 10_000
    assert {"bad-crc", "repeat-frame", "rapid-repeat"} <= outcomes.keys()
    # The digest sees every frame that is not a no-op.
    assert fold(frames[:-2], 1, 512).digest() != core.digest()


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("step", [1, 7, 512])
def test_threads_and_batches_do_not_show(frames: list[bytes], digest: dict[str, str], threads: int, step: int) -> None:
    assert fold(frames, threads, step).digest() == digest


def test_a_snapshot_and_its_tail_are_the_replay_at_any_position(frames: list[bytes], digest: dict[str, str]) -> None:
    random = Random(1)
    config = default_config("shop")
    for cut in [1, len(frames) - 1, *random.sample(range(2, len(frames) - 1), 8)]:
        position, parts = fold(frames[:cut], 2, 64).snapshot()
        assert position == cut
        core = restore_core(config, random.choice((1, 2, 4)), parts)
        # What was read back writes itself again in the same way.
        assert core.digest() == fold(frames[:cut], 1, 512).digest()
        core.apply(cut + 1, frames[cut:])
        assert core.digest() == digest


def test_stops_do_not_show(frames: list[bytes], digest: dict[str, str], tmp_path: Path) -> None:
    """A log appended in pieces, the state recovered after each stop, with and without snapshots."""
    for seed in range(6):
        random = Random(seed)
        cuts = [*sorted(random.sample(range(1, len(frames)), 5)), len(frames)]
        assert live_through_stops(tmp_path / str(seed), frames, cuts, random) == digest


def live_through_stops(directory: Path, frames: list[bytes], cuts: list[int], random: Random) -> dict[str, str]:
    """Digests after appending up to each cut, folding, perhaps a snapshot, and a stop."""
    config = default_config("shop")
    directory.mkdir()
    snapshots = DirectorySnapshots(directory / "snapshots")
    begun = 0
    for cut in cuts:
        log = SqliteLog(directory, generation_of(config.generation))
        recovered = recover(log, snapshots, config, random.choice((1, 2, 4)))
        core = recovered.core
        assert core.position == begun
        assert recovered.snapshot in (0, *snapshots.positions())
        if begun < cut:
            log.append(frames[begun:cut])
        fold_log(core, log, stop=random.choice((None, random.randint(begun + 1, cut + 1))))
        if random.random() < 0.5:
            snapshots.save(*core.snapshot(), keep=2)
        log.close()
        begun = cut
    log = SqliteLog(directory, generation_of(config.generation), read_only=True)
    try:
        return recover(log, snapshots, config, 2).core.digest()
    finally:
        log.close()


# --- logs that nobody would write on purpose -------------------------------------------------------------------------

USERS, ITEMS, TYPES = (
    ["a", "b", "c", "d"],
    ["i1", "i2", "i3", "i4", "i5"],
    ["view", "cart", "purchase", "return", "odd"],
)
times = st.integers(0, 40).map(lambda minutes: START + minutes * 400_000)
events = st.one_of(
    st.builds(
        Feedback,
        type=st.sampled_from(TYPES),
        user=st.sampled_from(USERS),
        item=st.sampled_from(ITEMS),
        ts=times,
        value=st.none() | st.floats(-5, 5),
        event_id=st.none() | st.sampled_from([f"e{n}" for n in range(12)]),
        session=st.none() | st.sampled_from(["s1", "s2"]),
        basket=st.none() | st.sampled_from(["b1", "b2"]),
    ),
    st.builds(
        ItemPut,
        item=st.sampled_from(ITEMS),
        ts=times,
        categories=st.lists(st.sampled_from(["x", "y"]), unique=True),
        labels=st.dictionaries(st.sampled_from(["brand", "price"]), st.sampled_from(["arno", 5, 2.5, True])),
        is_hidden=st.booleans(),
    ),
    st.builds(ItemPatch, item=st.sampled_from(ITEMS), ts=times, is_hidden=st.none() | st.booleans()),
    st.builds(ItemDelete, item=st.sampled_from(ITEMS), ts=times),
    st.builds(UserForget, user=st.sampled_from(USERS), ts=times),
    st.builds(
        lambda users, ts: UserMerge(*users, ts),
        st.lists(st.sampled_from(USERS), min_size=2, max_size=2, unique=True),
        times,
    ),
)


def packed(groups: list[list[Event]], config: Config) -> list[bytes]:
    """Frames of these events, a few to a frame; every third frame comes twice."""
    writer = FrameWriter("test", 1)
    frames: list[bytes] = []
    for group in groups:
        by_subject: dict[object, list[Event]] = {}
        for event in group:
            by_subject.setdefault(subject_of(event, config.generation.partitions), []).append(event)
        for subject, of_subject in by_subject.items():
            frames += writer.pack(subject, of_subject, APPENDED)  # type: ignore[arg-type]
    return [frame for number, frame in enumerate(frames) for _ in range(1 + (number % 3 == 2))]


@settings(max_examples=40)
@given(st.lists(st.lists(events, min_size=1, max_size=6), min_size=1, max_size=25), st.data())
def test_any_log_has_one_digest(groups: list[list[Event]], data: st.DataObject) -> None:
    config = default_config("shop")
    frames = packed(groups, config)
    wanted = fold(frames, 1, 1, config).digest()
    assert fold(frames, 4, 512, config).digest() == wanted
    assert fold(frames, 2, 7, config).digest() == wanted
    cut = data.draw(st.integers(0, len(frames)), label="cut")
    core = new_core(config, 1)
    if cut:
        core.apply(1, frames[:cut])
    restored = restore_core(config, 2, core.snapshot()[1])
    if cut < len(frames):
        restored.apply(cut + 1, frames[cut:])
    assert restored.digest() == wanted


# --- other processors ------------------------------------------------------------------------------------------------

HIDDEN = "glibc.cpu.hwcaps=-AVX2,-AVX,-FMA,-AVX512F,-AVX512VL,-AVX2_Usable,-FMA_Usable,-AVX512F_Usable,-ERMS"


def folded_elsewhere(file: Path, *wrapper: str, timeout: int = 120, **environment: str) -> dict[str, str]:
    """Digests from a process of its own."""
    command = [*wrapper, sys.executable, str(SCRIPT), str(file), "1", "64"]
    ran = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    digest: dict[str, str] = json.loads(ran.stdout)
    return digest


@pytest.fixture(scope="module")
def frames_file(frames: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("frames") / "frames"
    write_frames(file, frames)
    assert read_frames(file) == frames
    return file


@pytest.mark.parametrize(
    "environment",
    [{}, {"HEADWATER_SIMD": "portable"}, {"HEADWATER_SIMD": "portable", "GLIBC_TUNABLES": HIDDEN}],
    ids=["plain", "portable", "hidden"],
)
def test_another_process_without_vector_units_agrees(
    frames_file: Path, digest: dict[str, str], environment: dict[str, str]
) -> None:
    assert folded_elsewhere(frames_file, **environment) == digest


def test_an_emulated_processor_without_avx_agrees(tmp_path: Path) -> None:
    qemu = shutil.which("qemu-x86_64")
    if qemu is None:
        pytest.skip("qemu-x86_64 is not on PATH: a processor without AVX and FMA was not tried")
    frames = shop_frames(2000, seed=6)
    write_frames(tmp_path / "frames", frames)
    here = fold(frames, 2, 512).digest()
    assert folded_elsewhere(tmp_path / "frames", qemu, "-cpu", "Nehalem", timeout=300) == here

"""The head record: two slots written in turn, the newer sound one counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headwater.errors import LogCorrupt
from headwater.events.frame import encode_frame
from headwater.events.head import EMPTY_HEAD, Head, HeadFile, chain_frames
from headwater.events.subjects import Subject

SLOT = 512


def written(path: Path, count: int) -> None:
    head = HeadFile(path)
    for n in range(1, count + 1):
        head.write(Head(n, n * 10, n * 100))
    head.close()


def reread(path: Path) -> Head:
    head = HeadFile(path, read_only=True)
    try:
        return head.read()
    finally:
        head.close()


def spoil(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x40
    path.write_bytes(content)


def test_a_new_file_is_empty(tmp_path: Path) -> None:
    head = HeadFile(tmp_path / "head")
    assert (head.made, head.read()) == (True, EMPTY_HEAD)
    assert head.damage() == []
    head.close()
    # Both slots have their place: later writes take no new space.
    assert (tmp_path / "head").stat().st_size == 2 * SLOT


@pytest.mark.parametrize("count", range(1, 6))
def test_the_last_write_counts(tmp_path: Path, count: int) -> None:
    written(tmp_path / "head", count)
    assert reread(tmp_path / "head") == Head(count, count * 10, count * 100)
    assert (tmp_path / "head").stat().st_size == 2 * SLOT


def test_slots_alternate(tmp_path: Path) -> None:
    path = tmp_path / "head"
    written(path, 4)
    before = path.read_bytes()
    head = HeadFile(path)
    head.write(Head(5, 50, 500))
    head.close()
    after = path.read_bytes()
    changed = {at // SLOT for at in range(2 * SLOT) if before[at] != after[at]}
    assert changed == {1}


@pytest.mark.parametrize("at", [0, 4, 8, 16, 24, 31, 32, 35])
def test_a_damaged_slot_leaves_the_one_before_it(tmp_path: Path, at: int) -> None:
    path = tmp_path / "head"
    written(path, 5)
    spoil(path, SLOT * (5 % 2) + at)
    assert reread(path) == Head(4, 40, 400)


@pytest.mark.parametrize("kept", [0, 1, 20, 35])
def test_a_torn_write_leaves_the_one_before_it(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "head"
    written(path, 5)
    content = path.read_bytes()
    path.write_bytes(content[: SLOT + kept])
    assert reread(path) == Head(4, 40, 400)


def test_without_a_sound_slot_nothing_is_guessed(tmp_path: Path) -> None:
    path = tmp_path / "head"
    written(path, 5)
    spoil(path, 10)
    spoil(path, SLOT + 10)
    with pytest.raises(LogCorrupt, match="neither slot") as refused:
        reread(path)
    assert refused.value.details["reason"] == "head"


def test_a_file_that_was_cut_short_is_no_new_file(tmp_path: Path) -> None:
    path = tmp_path / "head"
    path.write_bytes(b"HWHD")
    with pytest.raises(LogCorrupt):
        reread(path)


def test_a_blank_file_is_empty_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "head"
    path.touch()
    head = HeadFile(path)
    assert (head.made, head.is_blank(), head.read()) == (False, True, EMPTY_HEAD)
    head.close()


@pytest.mark.parametrize("at", [4, 5, 100, SLOT - 1])
@pytest.mark.parametrize("slot", [0, 1])
def test_damage_is_told_though_it_can_be_done_without(tmp_path: Path, slot: int, at: int) -> None:
    path = tmp_path / "head"
    written(path, 5)
    spoil(path, slot * SLOT + at)
    head = HeadFile(path, read_only=True)
    assert head.damage() == [f"slot {slot} is damaged"]
    head.close()


def test_a_disk_that_refuses_is_an_error(tmp_path: Path) -> None:
    written(tmp_path / "head", 1)
    head = HeadFile(tmp_path / "head", read_only=True)
    with pytest.raises(OSError, match="Bad file descriptor"):
        head.write(Head(2, 20, 200))
    head.close()


def test_a_write_in_part_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "head", 1)
    head = HeadFile(tmp_path / "head")
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, content, at: whole(fd, content[:20], at))
    with pytest.raises(OSError, match="in part"):
        head.write(Head(2, 20, 200))
    assert head.read() == Head(1, 10, 100)
    head.close()


def test_the_chain_names_frames_and_their_order() -> None:
    one, two = (encode_frame(Subject(0), 1, 1, n, 0, 1, b"\x90") for n in (1, 2))
    chain = chain_frames(0, [one, two])
    assert chain == chain_frames(chain_frames(0, [one]), [two])
    assert len({0, chain, chain_frames(0, [two, one]), chain_frames(0, [one]), chain_frames(0, [one, one])}) == 5
    assert chain_frames(7, []) == 7

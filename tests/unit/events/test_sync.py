"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headwater.events.sync import write_whole


def test_a_file_that_cannot_be_synced_leaves_the_one_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old", 0o600)
    assert path.stat().st_mode & 0o777 == 0o600

    def refuse(descriptor: int) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="no space"):
            write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]

"""Memory that this process may take, with the files in which either version of control groups says so."""

import os
from pathlib import Path

import pytest

from headwater.memory_limit import memory_limit

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
UNBOUNDED = 9_223_372_036_854_771_712


def limit_with(place: Path, groups: str, files: dict[str, str]) -> int:
    (place / "cgroup").write_text(groups)
    for name, content in files.items():
        path = place / "mounted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return memory_limit(place / "cgroup", place / "mounted")


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        pytest.param("0::/\n", {}, MACHINE, id="no group has a limit"),
        pytest.param("0::/\n", {"memory.max": "max\n"}, MACHINE, id="a group without one"),
        pytest.param("0::/\n", {"memory.max": "5000000\n"}, 5_000_000, id="a container's own, version 2"),
        pytest.param("0::/a/b\n", {"a/b/memory.max": "70\n", "a/memory.max": "60\n"}, 60, id="one above it"),
        pytest.param("0::/a\n", {"a/memory.max": "70\n", "b/memory.max": "60\n"}, 70, id="not another one's"),
        pytest.param("0::/a\n", {"unified/a/memory.max": "70\n"}, 70, id="version 2 beside version 1"),
        pytest.param("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "70\n"}, 70, id="version 1"),
        pytest.param(
            "5:cpu,memory:/docker/0f\n", {"memory/memory.limit_in_bytes": "70\n"}, 70, id="version 1, in a container"
        ),
        pytest.param(
            "4:memory:/\n", {"memory/memory.limit_in_bytes": f"{UNBOUNDED}\n"}, MACHINE, id="no bound, version 1"
        ),
        pytest.param("5:cpu:/a\n", {"memory/a/memory.limit_in_bytes": "70\n"}, MACHINE, id="a group of something else"),
        pytest.param("0::/a:b\n", {"a:b/memory.max": "70\n"}, 70, id="a name with a colon"),
    ],
)
def test_the_lowest_limit_counts(groups: str, files: dict[str, str], limit: int, tmp_path: Path) -> None:
    assert limit_with(tmp_path, groups, files) == limit


def test_without_control_groups_it_is_the_machines(tmp_path: Path) -> None:
    assert memory_limit(tmp_path / "nothing", tmp_path) == MACHINE


def test_this_process_has_some() -> None:
    assert 0 < memory_limit() <= MACHINE

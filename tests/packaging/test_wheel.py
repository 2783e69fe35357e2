"""What is shipped, and that it works where nothing else is installed.

`python/headwater/{events,actors}` are links, which the builder's package walker skips: a lost `include` builds a wheel
without them and says nothing. These tests build for real, with the repository's cargo target folder.
"""

import json
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "headwater"
LINKS = {"events": ROOT / "events", "actors": ROOT / "actors"}
BUILD_SECONDS = 1200  # four minutes on two idle cores from nothing, 2 s after `make build`

pytestmark = pytest.mark.timeout(2 * BUILD_SECONDS)


def run(*command: str | Path, cwd: Path = ROOT, timeout: float = 300) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, cwd=cwd, timeout=timeout, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{command} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(*arguments: str | Path) -> Path:
    """The one file that `maturin ARGUMENTS --out FOLDER` leaves there; FOLDER is the last argument."""
    run(sys.executable, "-m", "maturin", *arguments[:-1], "--out", arguments[-1], timeout=BUILD_SECONDS)
    (built,) = Path(arguments[-1]).iterdir()
    return built


def sources(folder: Path, pattern: str) -> set[str]:
    """Paths below `folder` that match. `rglob` doesn't follow links."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob(pattern)}


def python_sources() -> set[str]:
    """Every Python file of the package, below `headwater/`, by its import path."""
    names = sources(PACKAGE, "*.py") | sources(PACKAGE, "*.pyi") | sources(PACKAGE, "py.typed")
    for link, folder in LINKS.items():
        names |= {f"{link}/{name}" for name in sources(folder, "*.py")}
    return names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("build", "--release", "--locked", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment that holds the wheel, what it depends on, and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    bin_folder = folder / "bin"
    constraints = ROOT / ".ci" / "constraints.txt"
    pip = (sys.executable, "-m", "pip", "--python", bin_folder / "python")
    run(*pip, "install", "--quiet", "-c", constraints, wheel, cwd=folder, timeout=900)
    run(*pip, "check", cwd=folder)
    return bin_folder


def test_the_links_are_links() -> None:
    for link, folder in LINKS.items():
        assert (PACKAGE / link).is_symlink()
        assert (PACKAGE / link).resolve() == folder


def test_wheel_holds_every_module_and_one_top_level_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"headwater/events/__init__.py", "headwater/actors/__init__.py"} <= names
    inside = {name.removeprefix("headwater/") for name in names if name.startswith("headwater/")}
    extension = {name for name in inside if name.startswith("_core.") and name.endswith((".so", ".pyd"))}
    assert len(extension) == 1
    assert inside - extension == python_sources()
    version = wheel.name.split("-")[1]
    assert {PurePosixPath(name).parts[0] for name in names} == {"headwater", f"headwater-{version}.dist-info"}


def test_sdist_holds_all_that_a_build_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members), "links in an sdist break where links cannot be made"
    top = sdist.name.removesuffix(".tar.gz")
    assert {PurePosixPath(member.name).parts[0] for member in members} == {top}
    names = {member.name.removeprefix(f"{top}/") for member in members}
    below = {name.removeprefix("python/headwater/") for name in names if name.startswith("python/headwater/")}
    assert below == python_sources()
    rust = {name.removeprefix("core_rs/src/") for name in names if name.startswith("core_rs/src/")}
    assert rust == sources(ROOT / "core_rs" / "src", "*.rs")
    assert {"pyproject.toml", "Cargo.toml", "Cargo.lock", "core_rs/Cargo.toml", "LICENSE", "README.md"} <= names


def test_embedded_engine_works_where_nothing_else_is_installed(environment: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("embedded_session.py")
    answer = json.loads(run(environment / "python", "-I", script, tmp_path / "shop", cwd=tmp_path))
    assert Path(answer["package"]).is_relative_to(environment.parent)
    assert answer["found_but_not_needed"] == []
    assert answer["loaded_by_import"] == []
    assert answer["items"][0] == "teapot"
    assert answer["reasons"]
    assert answer["equal"]
    assert answer["digest"] == answer["reopened"]


def test_command_is_installed(environment: Path, tmp_path: Path) -> None:
    assert "recommend" in run(environment / "headwater", "--help", cwd=tmp_path)

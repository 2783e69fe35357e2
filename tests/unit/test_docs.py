"""The documentation holds: links resolve, code runs, every configuration key is described."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from e2e.command_process import on_path
from headwater.cli import main
from headwater.config import Config, Relation
from headwater.evaluate.configured import load
from headwater.evaluate.contender import check_source
from headwater.evaluate.tuning import load_space
from headwater.scenario import SOURCES, VECTOR, Scenario

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GUIDES = ("embedded", "experiments", "exploration", "first-slate", "latency", "operations", "scenarios", "time-travel")
RUNNABLE = [ROOT / "README.md", *(ROOT / "docs" / f"guide-{name}.md" for name in GUIDES)]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """(language, code) of the fenced blocks in these languages, in order."""
    return [(language, code) for language, code in _FENCE.findall(page.read_text()) if language in languages]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_pages_are_found_and_have_links() -> None:
    assert len(PAGES) > 10
    assert sum(len(_LINK.findall(page.read_text())) for page in PAGES) > 50


@pytest.mark.parametrize("page", RUNNABLE, ids=page_name)
def test_code_on_the_page_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    """Shell and Python blocks of a page share one directory, in which the example lies where the page says."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "example").symlink_to(ROOT / "docs" / "example")
    (tmp_path / "bin").mkdir()
    environment = {**os.environ, "PATH": on_path(tmp_path / "bin")}
    found = blocks(page, "sh", "python")
    assert {language for language, _ in found} == {"sh", "python"}
    for language, code in found:
        command = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-W", "error", "-c"]
        done = subprocess.run([*command, code], cwd=tmp_path, env=environment, capture_output=True)
        assert done.returncode == 0, f"{code}\n{done.stderr.decode()}"
        assert done.stdout, code


def commands_of(page: Path) -> list[list[str]]:
    """Words of the indented `headwater` commands of a page that name no placeholder (DIR, NAME, a|b, [--option])."""
    found = re.findall(r"^    (headwater (?:[^\n]*\\\n)*[^\n]*)$", page.read_text(), re.MULTILINE)
    words = [shlex.split(command.replace("\\\n", " ")) for command in found]
    return [one for one in words if not any(re.search(r"[A-Z]{3}|[|\[]", word) for word in one)]


def test_commands_on_the_page_of_quality_parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they do needs data that is not shipped; here options, sources, configurations and spaces are checked."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    commands = commands_of(ROOT / "docs" / "quality.md")
    assert len(commands) > 12
    for words in commands:
        for word in words:
            if word.startswith("data/"):
                (tmp_path / word).mkdir(parents=True, exist_ok=True)
        command = main.commands[words[1]]
        asked = command.make_context(words[1], words[2:]).params
        if words[1] == "tune":
            load_space(asked["space"])
        elif asked["config_file"]:
            config = load(asked["config_file"]).config
            for source in asked["sources"]:
                check_source(config, source.removeprefix("item-knn:"))


def test_readme_says_what_its_example_prints() -> None:
    [(_, code)] = blocks(ROOT / "README.md", "python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    [said] = re.findall(r"`(also viewed tent[^`]*?) \.\.\.`", (ROOT / "README.md").read_text())
    assert f"('stove', '{said}" in done.stdout


def config_keys(struct: Any, table: str = "") -> Iterator[tuple[str, Any]]:
    """(`table.key`, default) of every field of a struct and of the structs within it."""
    hints = get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        hint = hints[field.name]
        path = f"{table}.{field.name}" if table else field.name
        path = "experiments" if path == "query.experiments" else path  # where the file has them
        inner = next(
            (h for h in (hint, *get_args(hint)) if isinstance(h, type) and issubclass(h, msgspec.Struct)), None
        )
        if inner is None:
            yield path, field.default
        elif inner is not Scenario:  # a named scenario has the keys of `[query]` itself
            yield from config_keys(inner, path)


def described() -> dict[str, str]:
    """`table.key` -> default, as docs/configuration.md gives them under the headings that name a table."""
    rows: dict[str, str] = {}
    table = ""
    for line in (ROOT / "docs" / "configuration.md").read_text().splitlines():
        if line.startswith("#"):
            named = re.match(r"#+ `\[+([\w.]+)\]+`", line)
            table = named[1] if named else ""
        elif table and (row := re.match(r"\| `(\w+)` \| ([^|]+) \|", line)):
            key = f"{table}.{row[1]}"
            assert key not in rows, f"{key} has two rows"
            rows[key] = row[2].strip().strip("`")
    return rows


def test_every_configuration_key_has_a_row_and_every_row_is_a_key() -> None:
    keys = [key for key, _ in config_keys(Config)]
    assert set(described()) == set(keys)
    assert {f"generation.relations.{field.name}" for field in msgspec.structs.fields(Relation)} < set(keys)


def test_described_defaults_are_the_defaults() -> None:
    rows = described()
    checked = 0
    for key, default in config_keys(Config):
        if isinstance(default, str | int | float):
            shown = (
                str(default).lower()
                if isinstance(default, bool)
                else f'"{default}"'
                if isinstance(default, str)
                else str(default)
            )
            assert rows[key] == shown, key
            checked += 1
    assert checked > 50


def test_every_source_is_described() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert [name for name in (*SOURCES, f"{VECTOR}NAME") if f"\n| `{name}` |" not in text] == []


def test_changelog_names_every_command() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert [name for name in main.commands if not re.search(rf"\b{name}\b", text)] == []

"""Every command of `headwater`, as a process of its own in a temporary directory."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.command_process import headwater, ok
from headwater import Engine
from headwater.cli import main as command_group

pytestmark = pytest.mark.e2e

START = 1_641_600_000_000
MINUTE = 60_000
COMMANDS = sorted(command_group.commands)
NAMED = [
    *("init", "demo", "import", "export", "validate", "track", "recommend", "similar", "session"),
    *("trending", "explain", "status", "snapshot", "verify", "replay", "shadow", "forget"),
    *("sync", "merge", "backup", "restore", "archive"),
]


def events_csv(path: Path) -> None:
    lines = ["type,visitor,item,ts"]
    for visitor in range(8):
        for n in range(5):
            if n != visitor % 5:
                lines.append(f"view,v{visitor},lamp{n},{START + (visitor * 10 + n) * MINUTE}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `shop` in it: eight visitors, five lamps."""
    place = tmp_path_factory.mktemp("cli")
    events_csv(place / "clicks.csv")
    (place / "items.csv").write_text("item,categories,brand\n" + "".join(f"lamp{n},lamps,arno\n" for n in range(5)))
    assert ok(place, "init", "shop")["created"] is True
    assert ok(place, "import", "shop", "items.csv", "--kind", "items")["events"] == 5
    report = ok(place, "import", "shop", "clicks.csv", "-c", "user=visitor")
    assert (report["events"], report["refused"]) == (32, 0)
    return place


def test_the_commands_are_those_that_were_promised() -> None:
    assert set(NAMED) <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_that_parses(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shlex

    import click

    found = command_group.commands[name]
    own = [found]
    # What only holds commands has nothing to show an example of.
    if isinstance(found, click.Group) and not found.invoke_without_command:
        own = [found.commands[part] for part in found.commands]
    for folder in ("shop", "data/diginetica"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "space.toml").touch()
    monkeypatch.chdir(tmp_path)
    for command in own:
        context = click.Context(command, info_name=name)
        text = " ".join(command.get_help(context).split())
        assert "--json" in text, command.name
        example = text.partition("Example: ")[2].partition(" Options:")[0].partition(" Example: ")[0]
        words = shlex.split(example.partition(" > ")[0])
        path = [name] if command is found else [name, str(command.name)]
        assert words[: 1 + len(path)] == ["headwater", *path]
        command.make_context(name, words[1 + len(path) :])


def test_help_of_the_whole_is_for_people(tmp_path: Path) -> None:
    result = headwater(tmp_path, "--help")
    assert result.code == 0
    assert all(name in result.out for name in NAMED)
    assert headwater(tmp_path, "recommend", "-h").code == 0


def test_questions_answer_in_json(shop: Path) -> None:
    slate = ok(shop, "recommend", "shop", "v1", "-n", 3, "--exclude", "lamp2")
    assert (slate["user"], slate["n"], slate["kind"]) == ("v1", 3, "recommend")
    assert "lamp2" not in [item["item"] for item in slate["items"]]
    assert slate["items"][0]["reasons"][0]["event"]["id"]
    similar = ok(shop, "similar", "shop", "lamp0", "--relation", "also_viewed", "--metric", "llr")
    assert {item["item"] for item in similar["items"]} <= {f"lamp{n}" for n in range(1, 5)}
    assert [i["item"] for i in ok(shop, "session", "shop", "lamp0", "lamp1", "-n", 1)["items"]] != []
    assert ok(shop, "session", "shop", "--user", "v1")["events"] == 4
    assert ok(shop, "trending", "shop", "lamps", "-n", 2)["about"] == ["lamps"]
    assert len(ok(shop, "trending", "shop", "-n", 2)["items"]) == 2
    assert ok(shop, "trending", "shop", "--now", START)["now"] == START
    status = ok(shop, "status", "shop")
    assert (status["users"], status["items"], status["profile"]) == (8, 5, "shop")


def test_questions_answer_in_tables(shop: Path) -> None:
    for arguments in (
        ("recommend", "shop", "v1"),
        ("similar", "shop", "lamp0"),
        ("session", "shop", "lamp0"),
        ("session", "shop", "--user", "v1"),
        ("trending", "shop"),
        ("status", "shop"),
        ("verify", "shop"),
        ("replay", "shop"),
        ("validate", "clicks.csv", "-c", "user=visitor"),
    ):
        result = headwater(shop, *arguments)
        assert result.code == 0, result
        assert result.err == ""
        assert "─" in result.out
        assert not result.out.startswith("{")


def test_tracking_recommending_and_explaining(tmp_path: Path, shop: Path) -> None:
    import shutil

    shutil.copytree(shop / "shop", tmp_path / "shop")
    position = ok(tmp_path, "track", "shop", "view", "--user", "bob", "--item", "lamp0", "--ts", START + 100 * MINUTE)
    again = ok(
        tmp_path, *("track", "shop", "view", "--user", "bob", "--item", "lamp1", "--ts", START + 101 * MINUTE),
        *("--event-id", "e1", "--value", "2.5", "--session", "s", "--basket", "b"),
    )  # fmt: skip
    assert again["position"] == position["position"] + 1
    slate = ok(tmp_path, "recommend", "shop", "bob", "--record")
    assert slate["about"] == ["lamp1", "lamp0"]
    item = slate["items"][0]["item"]
    explanation = ok(tmp_path, "explain", "shop", slate["slate"], item)
    assert (explanation["slot"], explanation["item"]) == (0, item)
    assert explanation["score"] == slate["items"][0]["score"]
    assert {event["user"] for event in explanation["events"]} == {"bob"}
    shown = headwater(tmp_path, "recommend", "shop", "bob", "--record").out
    assert f"slate {int(slate['slate'].split('-')[0]) + 1}-1" in shown, "the id that explain takes"
    assert "slate " not in headwater(tmp_path, "recommend", "shop", "bob").out
    told = headwater(tmp_path, "explain", "shop", slate["slate"], item)
    assert told.code == 0
    assert f"{item} stands in slot 0" in told.out
    assert ok(tmp_path, "forget", "shop", "bob")["user"] == "bob"
    assert headwater(tmp_path, "session", "shop", "--user", "bob").code == 2


def test_snapshot_verify_replay(tmp_path: Path, shop: Path) -> None:
    import shutil

    shutil.copytree(shop / "shop", tmp_path / "shop")
    snapshot = ok(tmp_path, "snapshot", "shop")
    assert Path(tmp_path / snapshot["path"]).exists()
    ok(tmp_path, "track", "shop", "view", "--user", "bob", "--item", "lamp0")
    report = ok(tmp_path, "verify", "shop", "--threads", 1)
    assert (report["equal"], report["problems"]) == (True, [])
    assert len(set(report["digest"].values())) == 1
    replay = ok(tmp_path, "replay", "shop")
    assert replay["digest"] in report["digest"].values()
    assert (
        ok(tmp_path, "replay", "shop", "--until", snapshot["position"], "--threads", 2)["position"]
        == (snapshot["position"])
    )
    (tmp_path / "new.toml").write_text("[generation]\npartitions = 4\n")
    built = ok(tmp_path, "replay", "shop", "--to", "next", "--config", "new.toml")
    assert built["outcomes"]["applied"] == replay["events"] - built["outcomes"].get("recorded", 0)
    assert ok(tmp_path, "verify", "next")["equal"] is True
    for asked in (("recommend", "v1"), ("similar", "lamp0")):
        old, new = (ok(tmp_path, asked[0], place, asked[1])["items"] for place in ("shop", "next"))
        assert [(i["item"], i["score"]) for i in old] == [(i["item"], i["score"]) for i in new]
    same = ok(tmp_path, "replay", "shop", "--to", "copy")
    assert same["digest"] == replay["digest"]


def test_a_broken_directory_fails_verification_with_1(tmp_path: Path, shop: Path) -> None:
    import shutil

    shutil.copytree(shop / "shop", tmp_path / "shop")
    ok(tmp_path, "snapshot", "shop")
    part = next(p for p in sorted((tmp_path / "shop" / "snapshots").rglob("*")) if p.is_file())
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    result = headwater(tmp_path, "verify", "shop", "--json")
    assert (result.code, result.json["equal"]) == (1, False)
    assert result.json["problems"] == [
        {"where": "snapshot 8", "what": f"snapshot part {part.stem}: checksum does not match"}
    ]
    assert headwater(tmp_path, "verify", "shop").code == 1


def test_a_damaged_frame_is_named_by_what_reads_it(tmp_path: Path, shop: Path) -> None:
    import shutil
    import sqlite3
    from contextlib import closing

    shutil.copytree(shop / "shop", tmp_path / "shop")
    with closing(sqlite3.connect(tmp_path / "shop" / "log.sqlite3")) as database:
        ((frame,),) = database.execute("SELECT frame FROM frames WHERE position = 4").fetchall()
        frame = frame[:-1] + bytes([frame[-1] ^ 1])
        database.execute("UPDATE frames SET frame = ? WHERE position = 4", [frame])
        database.commit()
    (tmp_path / "four.toml").write_text("[generation]\npartitions = 4\n")
    for arguments in (("export", "shop", "out.csv"), ("replay", "shop", "--to", "next", "--config", "four.toml")):
        result = headwater(tmp_path, *arguments)
        assert (result.code, result.out, result.err.count("\n")) == (1, "", 1), result
        assert result.err.startswith("headwater: frame 4: ")
    assert not (tmp_path / "next").exists()
    replay = ok(tmp_path, "replay", "shop")
    assert replay["damaged"] == [{"position": 4, "reason": "bad-crc"}]
    assert replay["outcomes"]["bad-crc"] == 1


def test_export_and_import_again(tmp_path: Path, shop: Path) -> None:
    import shutil

    shutil.copytree(shop / "shop", tmp_path / "shop")
    for form in ("jsonl", "csv", "parquet"):
        report = ok(tmp_path, "export", "shop", f"out.{form}")
        assert report["events"] == (32 if form != "jsonl" else 38), "feedback, items and the activated configuration"
        ok(tmp_path, "import", f"from-{form}", "out.jsonl", "--kind", "items")
        assert ok(tmp_path, "import", f"from-{form}", f"out.{form}")["events"] == 32
        for asked in (("recommend", "v1"), ("similar", "lamp0"), ("trending",)):
            old, new = (ok(tmp_path, asked[0], place, *asked[1:])["items"] for place in ("shop", f"from-{form}"))
            assert [(i["item"], i["score"]) for i in old] == [(i["item"], i["score"]) for i in new], (form, asked)
    assert ok(tmp_path, "import", "from-csv", "out.csv")["events"] == 0, "twice is once"


def test_validate_counts_without_writing(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(f"type,user,item,ts\nview,ann,a,{START}\nview,,b,{START}\nview,ann\n")
    report = ok(tmp_path, "validate", "bad.csv")
    assert (report["rows"], report["valid"], report["refused"]) == (3, 1, 2)
    assert report["reasons"] == {"bad-id": 1, "malformed-row": 1}
    assert {x["row"] for x in report["first_refused"]} == {2, 3}
    assert [p.name for p in tmp_path.iterdir()] == ["bad.csv"]
    (tmp_path / "items.csv").write_text("code,genres\na,x|y\n,x\n")
    items = ok(tmp_path, "validate", "items.csv", "--kind", "items", "-c", "item=code")
    assert (items["rows"], items["valid"], items["reasons"]) == (2, 1, {"bad-item": 1})
    imported = ok(tmp_path, "import", "shop", "bad.csv")
    assert (imported["events"], imported["refused"]) == (1, 2)
    kept = [json.loads(line) for line in (tmp_path / imported["dead_letters"]).read_text().splitlines()]
    assert {(x["row"], x["reason"]) for x in kept} == {(2, "bad-id"), (3, "malformed-row")}


def test_validate_judges_times_as_the_directory_would(tmp_path: Path) -> None:
    from headwater.wall_clock import wall_clock

    soon = wall_clock() + 30 * 3_600_000
    (tmp_path / "soon.csv").write_text(f"type,user,item,ts\nview,ann,a,{soon}\n")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "headwater.toml").write_text("[generation]\nmax_future_hours = 48\n")
    assert ok(tmp_path, "validate", "soon.csv")["reasons"] == {"future-ts": 1}
    assert ok(tmp_path, "validate", "soon.csv", "--dir", "shop")["refused"] == 0
    assert ok(tmp_path, "import", "shop", "soon.csv")["events"] == 1


USAGE = [
    ("nonsense",),
    ("--nonsense",),
    ("recommend",),
    ("recommend", "shop"),
    ("recommend", "shop", "v1", "-n", "many"),
    ("recommend", "shop", "v1", "-n", 0),
    ("recommend", "shop", "v1", "-n", -1),
    ("recommend", "shop", "v1", "-n", 10**9),
    ("recommend", "shop", ""),
    ("recommend", "shop", "v1", "--now", -1),
    ("similar", "shop", "nothing"),
    ("similar", "shop", "lamp0", "--relation", "friends"),
    ("similar", "shop", "lamp0", "--metric", "euclid"),
    ("session", "shop"),
    ("session", "shop", "lamp0", "--user", "v1"),
    ("session", "shop", "--user", "stranger"),
    ("trending", "shop", "nowhere"),
    ("explain", "shop", "no-such-slate", "lamp0"),
    ("track", "shop", "view", "--user", "bob"),
    ("track", "shop", "view", "--user", "", "--item", "a"),
    ("track", "shop", "view", "--user", "x" * 10_000, "--item", "a"),
    ("track", "shop", "view", "--user", "line\nbreak", "--item", "a"),
    ("track", "shop", "view", "--user", "bob", "--item", "a", "--value", "nan"),
    ("track", "shop", "view", "--user", "bob", "--item", "a", "--value", "inf"),
    ("track", "shop", "view", "--user", "bob", "--item", "a", "--ts", "-1"),
    ("track", "shop", "view", "--user", "bob", "--item", "a", "--ts", "99999999999999"),
    ("track", "shop", "view", "--user", "bob", "--item", "a", "--ts", "1e12"),
    ("track", "shop", "view", "--user", "bob", "--item", "a", "--profile", "toys"),
    ("import", "shop", "absent.csv"),
    ("import", "shop", "clicks.csv", "-c", "user"),
    ("import", "shop", "clicks.csv", "-c", "user=nobody"),
    ("import", "shop", "clicks.csv", "-c", "colour=item"),
    ("import", "shop", "clicks.csv", "--format", "xlsx"),
    ("import", "shop", "clicks.csv", "--format", "parquet"),
    ("import", "shop", "clicks.csv", "--chunk-rows", 0),
    ("import", "shop", "clicks.csv", "--kind", "users"),
    ("import", "shop", "clicks.csv", "--kind", "items", "-c", "colour=item"),
    ("import", "shop", "clicks.csv", "-c", "user=visitor", "--profile", "media"),
    ("validate", "clicks.csv"),
    ("export", "shop", "out.doc"),
    ("replay", "shop", "--config", "new.toml"),
    ("replay", "shop", "--to", "shop"),
    ("replay", "shop", "--to", "other", "--config", "absent.toml"),
    ("replay", "shop", "--until", -1),
    ("replay", "shop", "--to", "other", "--until", 3),
    ("replay", "shop", "--to", "other", "--threads", 2),
    ("replay", "shop", "--to", "clicks.csv"),
    ("demo", "--dataset", "netflix", "--path", "."),
    ("demo", "--dataset", "ml-1m"),
    ("demo", "--dataset", "ml-1m", "--path", "absent"),
    ("demo", "--events", 1),
    ("bench", "--dir", "absent"),
    ("validate", "clicks.csv", "-c", "user=visitor", "--dir", "absent"),
    ("init", "clicks.csv"),
    ("recommend", "absent", "bob"),
    ("recommend", "absent", "bob", "--record"),
    ("similar", "absent", "lamp0"),
    ("session", "absent", "lamp0"),
    ("trending", "absent"),
    ("explain", "absent", "1-1", "lamp0"),
    ("status", "absent"),
    ("snapshot", "absent"),
    ("verify", "absent"),
    ("replay", "absent"),
    ("replay", "absent", "--to", "other"),
    ("export", "absent", "out.csv"),
    ("forget", "absent", "bob"),
    ("merge", "absent", "v1", "bob"),
    ("merge", "shop", "v1", "v1"),
    ("sync", "absent", "items.csv"),
    ("sync", "shop", "absent.csv"),
    ("backup", "absent", "backup"),
    ("archive", "absent"),
    ("restore", "absent", "other"),
    ("track", "absent", "view", "--user", "bob", "--item", "lamp0"),
    ("permissions", "absent"),
    ("serve", "absent", "--http", "--port", 0),
    ("serve", "absent", "--embedded-nats", "--port", 0),
    ("forget", "shop", "bob", "--check", "items.csv"),
]


@pytest.mark.parametrize("arguments", USAGE, ids=lambda a: " ".join(map(str, a))[:60])
def test_a_value_that_must_be_corrected_exits_2_with_one_line(arguments: tuple[str | int, ...], shop: Path) -> None:
    before = sorted(p.name for p in shop.iterdir())
    result = headwater(shop, *arguments)
    assert result.code == 2, result
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("headwater: ")
    assert len(result.err) < 600
    assert result.out == ""
    assert sorted(p.name for p in shop.iterdir()) == before, "nothing is made"


@pytest.mark.parametrize(
    "arguments",
    [
        ("recommend", "nolog", "bob"),
        ("recommend", "nolog", "bob", "--record"),
        ("similar", "nolog", "lamp0"),
        ("session", "nolog", "lamp0"),
        ("trending", "nolog"),
        ("explain", "nolog", "1-1", "lamp0"),
        ("status", "nolog"),
        ("snapshot", "nolog"),
        ("replay", "nolog"),
        ("replay", "nolog", "--to", "other"),
        ("export", "nolog", "out.csv"),
        ("forget", "nolog", "bob"),
        ("merge", "nolog", "v1", "bob"),
        ("sync", "nolog", "items.csv"),
        ("backup", "nolog", "backup"),
        ("restore", "nolog", "other"),
        ("archive", "nolog"),
        ("export", "shop", "absent/out.csv"),
        ("demo", "--dir", "shop"),
    ],
    ids=lambda a: " ".join(a),
)
def test_a_failure_exits_1_with_one_line(arguments: tuple[str, ...], shop: Path) -> None:
    (shop / "nolog").mkdir(exist_ok=True)
    before = sorted(p.name for p in shop.iterdir())
    result = headwater(shop, *arguments)
    assert result.code == 1, result
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("headwater: ")
    assert sorted(p.name for p in shop.iterdir()) == before
    assert list((shop / "nolog").iterdir()) == [], "nothing is made in a directory that is no engine's"


def test_errors_are_json_too(shop: Path) -> None:
    result = headwater(shop, "similar", "shop", "nothing", "--json")
    assert result.code == 2
    assert result.json["error"]["code"] == "invalid-query"
    assert "nothing" in result.json["error"]["message"]
    assert headwater(shop, "recommend", "--json").json["error"]["code"] == "usage"
    assert headwater(shop, "status", "absent", "--json").json["error"]["code"] == "usage"
    (shop / "nolog").mkdir(exist_ok=True)
    assert headwater(shop, "status", "nolog", "--json").json["error"]["code"] == "store-error"


def test_a_wrong_configuration_is_named(tmp_path: Path) -> None:
    ok(tmp_path, "init", "shop", "--profile", "media")
    assert ok(tmp_path, "init", "shop")["created"] is False
    (tmp_path / "shop" / "headwater.toml").write_text("[query]\nseed = 3\n")
    result = headwater(tmp_path, "track", "shop", "view", "--user", "a", "--item", "b")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "query.seed = 3" in result.err
    assert "allowed: sources" in result.err


def test_a_directory_in_use_is_a_failure_but_can_be_read(tmp_path: Path) -> None:
    with Engine.open(tmp_path / "shop") as engine:
        engine.track("view", user="ann", item="a", ts=START)
        result = headwater(tmp_path, "track", "shop", "view", "--user", "bob", "--item", "a")
        assert (result.code, result.err.count("\n")) == (1, 1)
        assert "is being written by process" in result.err
        assert ok(tmp_path, "session", "shop", "--user", "ann")["events"] == 1
        assert ok(tmp_path, "verify", "shop")["equal"] is True


def test_ctrl_c_says_that_the_same_command_continues(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "slow.csv")
    command = [str(Path(sys.executable).parent / "headwater"), "import", "shop", "slow.csv"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with open(tmp_path / "slow.csv", "wb"):  # returns once the command reads, and ends what it reads when closed
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "headwater: interrupted; what was acknowledged is kept, the same command continues\n"


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    for item in ("[/bold]", "[red]x", ":smile:"):
        for user in ("ann", "[/b]"):
            ok(tmp_path, "track", "shop", "view", "--user", user, "--item", item, "--profile", "shop")
    for arguments in (
        ("recommend", "shop", "[/b]"),
        ("session", "shop", "--user", "ann"),
        ("similar", "shop", "[red]x"),
    ):
        result = headwater(tmp_path, *arguments)
        assert result.code == 0, result
        assert "[/bold]" in result.out
    assert "[/b]" in headwater(tmp_path, "forget", "shop", "[/b]").out

"""`headwater.toml`: errors name key, value and what is allowed; the template is the defaults."""

import re
from pathlib import Path

import msgspec
import pytest

from headwater import Engine, default_config, load_config
from headwater.cli.template import template, write_template
from headwater.config import PROFILES, Profile, config_from_table
from headwater.errors import ConfigError, GenerationMismatch, StoreError


def uncommented(text: str) -> str:
    """The template with every default in force: one `# ` less on each line that is not prose."""
    return "\n".join(line.removeprefix("# ") for line in text.splitlines())


@pytest.mark.parametrize("profile", PROFILES)
def test_the_template_changes_nothing_commented_or_not(profile: Profile, tmp_path: Path) -> None:
    path, created = write_template(tmp_path, profile)
    assert created
    assert load_config(path) == default_config(profile)
    path.write_text(uncommented(path.read_text()))
    assert load_config(path) == default_config(profile)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_template_shows_every_key(profile: Profile) -> None:
    import tomllib

    shown = tomllib.loads(uncommented(template(profile)))
    expected = msgspec.json.decode(msgspec.json.encode(default_config(profile)))
    if expected["query"]["consumed_expiry_days"] is None:
        expected["query"]["consumed_expiry_days"] = "never"
    expected["experiments"] = expected["query"].pop("experiments")
    assert shown == expected


@pytest.mark.parametrize("profile", PROFILES)
def test_each_line_of_the_template_can_be_taken_alone(profile: Profile, tmp_path: Path) -> None:
    """Uncommenting one default, with the header of its table, gives the defaults again."""
    lines = template(profile).splitlines()
    header, checked = "", 0
    for line in lines:
        table = re.match(r"(?:# )?(\[\[?[a-z_.]+\]?\])", line)
        if table:
            header = table[1]
        value = re.match(r"# (\"?[a-z_>=<0-9-]+\"? = .*)", line)
        # Maps and relations are replaced as a whole, so one entry of them says less.
        if value and header in ("[generation]", "[query]", "[engine]", "[generation.trending]"):
            (tmp_path / "one.toml").write_text(f'[generation]\nprofile = "{profile}"\n')
            text = (tmp_path / "one.toml").read_text() + ("" if header == "[generation]" else f"{header}\n") + value[1]
            (tmp_path / "one.toml").write_text(text)
            assert load_config(tmp_path / "one.toml") == default_config(profile), line
            checked += 1
    assert checked > 30


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "headwater.toml").write_text("mine")
    assert write_template(tmp_path, "shop") == (tmp_path / "headwater.toml", False)
    assert (tmp_path / "headwater.toml").read_text() == "mine"
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        write_template(tmp_path / "file", "shop")


WRONG = [
    ("bar = 1", "bar", "generation, query, engine"),
    ("[query]\nfoo = 1", "query.foo", "sources, rrf_k, pool"),
    ("[engine]\nthread = 2", "engine.thread", "threads, clock"),
    ("[generation]\npartition = 2", "generation.partition", "profile, partitions"),
    ("[generation.trending]\nk = 2", "generation.trending.k", "short_half_life_hours"),
    ('[generation]\nprofile = "toys"', "generation.profile", "shop, media"),
    ("[generation]\npartitions = 0", "generation.partitions", "1 to 1024"),
    ("[generation]\npartitions = 2.5", "generation.partitions", "Expected `int`"),
    ('[generation]\nvotes = "view"', "generation.votes", "Expected `array`"),
    ('[generation]\nvotes = ["a b"]', "generation.votes", "an event type"),
    ("[generation]\nvotes = [3]", "generation.votes[0]", "Expected `str`"),
    ("[generation]\nsession_gap_minutes = nan", "generation.session_gap_minutes", "0.1 to 10080"),
    ("[generation]\nsession_gap_minutes = inf", "generation.session_gap_minutes", "0.1 to 10080"),
    ("[generation]\ndedup_horizon = -1", "generation.dedup_horizon", "1 to 1e+09"),
    ("[generation.affinity_weights]\nview = -1", "generation.affinity_weights.view", "0 to 1000"),
    (
        "[generation.trending]\nshort_half_life_hours = 400",
        "generation.trending.long_half_life_days",
        "longer than the short",
    ),
    ('[generation.segments]\nvalues = ["de"]', "generation.segments.label", "the name of a user label"),
    ('[generation.segments]\nlabel = "c"\nvalues = ["de", "de"]', "generation.segments.values", "each once"),
    ('[generation.segments]\nlabel = "c"\nvalues = [""]', "generation.segments.values", "1 to 1024 bytes"),
    ('[generation.segments]\nlabels = "c"', "generation.segments.labels", "label, values"),
    ('[generation]\nstrong = ["rating>4"]', "generation.strong", "an event type"),
    ("[generation]\nfresh_days = -1", "generation.fresh_days", "0 to 36500"),
    ('[query]\nmetric = "euclid"', "query.metric", "cosine, jaccard"),
    ('[query]\nseeds = "ten"', "query.seeds", "Expected `int`"),
    ("[query]\nseeds = 0", "query.seeds", "1 to 100"),
    ("[query]\ntouched_factor = 1.5", "query.touched_factor", "0 to 1"),
    ("[query.sources]\nfriends = 1", "query.sources.friends", "one of the sources also_bought"),
    ("[query.sources]\npopular = -1", "query.sources.popular", "0 to 1e+06"),
    ('[query]\nconsumed_expiry_days = "soon"', "query.consumed_expiry_days", "Expected `float | null`"),
    ("[engine]\nthreads = 0", "engine.threads", "1 to 256"),
    ('[engine]\nclock = "sun"', "engine.clock", "wall, log"),
    ('[[generation.relations]]\nname = "x"', "generation.relations[0]", "missing required field `from_types`"),
    (
        '[[generation.relations]]\nname = "x"\nfrom_types = ["v"]\nto_types = ["v"]\nunit = "week"',
        "generation.relations[0].unit",
        "session, user, basket",
    ),
    (
        '[[generation.relations]]\nname = "x"\nfrom_types = ["v"]\nto_types = ["v"]\nwidth = 3',
        "generation.relations[0].width",
        "name, from_types",
    ),
    (
        '[[generation.relations]]\nname = "X y"\nfrom_types = ["v"]\nto_types = ["v"]',
        "generation.relations[X y]",
        "lower-case",
    ),
    (
        '[[generation.relations]]\nname = "x"\nfrom_types = []\nto_types = ["v"]',
        "generation.relations[x].from_types",
        "at least one type",
    ),
]


@pytest.mark.parametrize(("text", "key", "allowed"), WRONG)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(text: str, key: str, allowed: str, tmp_path: Path) -> None:
    path = tmp_path / "headwater.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.details["key"] == key
    message = str(caught.value)
    assert str(path) in message
    assert f"{key} = " in message
    assert allowed in message
    with pytest.raises(ConfigError):
        Engine.open(tmp_path)


@pytest.mark.parametrize(
    ("content", "named"),
    [(b"[query\n", "not valid TOML"), (b"a = 1\na = 2\n", "not valid TOML"), (b"# \xff\n", "not UTF-8 at byte 2")],
)
def test_what_is_no_toml_says_so(content: bytes, named: str, tmp_path: Path) -> None:
    (tmp_path / "headwater.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=named):
        load_config(tmp_path / "headwater.toml")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        load_config(tmp_path / "none.toml")


def test_what_is_left_out_keeps_the_profiles_defaults() -> None:
    config = config_from_table(
        {"generation": {"profile": "media", "trending": {"prior": 3.0}}, "query": {"sources": {"popular": 1.0}}}
    )
    media = default_config("media")
    assert config.generation.relations == media.generation.relations
    assert config.generation.trending.prior == 3.0
    assert config.generation.trending.long_half_life_days == media.generation.trending.long_half_life_days
    assert config.query.sources == {"popular": 1.0}, "a map of names is replaced as a whole"
    assert config.query.consumed_expiry_days is None


def test_never_is_no_expiry() -> None:
    assert config_from_table({"query": {"consumed_expiry_days": "never"}}).query.consumed_expiry_days is None


def test_query_settings_change_freely_and_each_change_is_an_event(tmp_path: Path) -> None:
    with Engine.open(tmp_path) as engine:
        first, position = engine.status()["config_version"], engine.position
    (tmp_path / "headwater.toml").write_text("[query]\nseeds = 3\n")
    with Engine.open(tmp_path) as engine:
        assert engine.config.query.seeds == 3
        assert engine.status()["config_version"] != first
        assert engine.position == position + 1
        version = engine.status()["config_version"]
    with Engine.open(tmp_path) as engine:
        assert (engine.position, engine.status()["config_version"]) == (position + 1, version)
    (tmp_path / "headwater.toml").write_text("[generation]\nrecent_items = 9\n")
    with pytest.raises(GenerationMismatch, match="recent_items: log 50, asked 9"):
        Engine.open(tmp_path)

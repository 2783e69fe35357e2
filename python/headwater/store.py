"""The engine's directory: which configuration it was made with, and which one it is opened with.

DIR/headwater.toml     what the owner asks for (optional)
DIR/generation.json    the [generation] that the log was begun with
DIR/log.sqlite3, head  the log      DIR/lock  one writer      DIR/snapshots/  parts      DIR/deadletters/  refused rows
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from headwater.config import (
    Config,
    FoldConfig,
    Profile,
    default_config,
    fold_config_from,
    load_config,
    validate_config,
)
from headwater.errors import ConfigError, GenerationMismatch, StoreError
from headwater.events.sync import sync_directory, write_whole
from headwater.scenario import QueryConfig, query_profile

CONFIG_FILE = "headwater.toml"
GENERATION_FILE = "generation.json"
LOG_FILE = "log.sqlite3"


def directory_config(directory: Path, profile: Profile | None = None) -> Config:
    """The configuration that a directory is opened with: its `headwater.toml`, else what it was begun with, else a
    profile's.

    Raises `ConfigError`, or `GenerationMismatch` naming the `[generation]` keys that differ from the log's.
    """
    begun = _begun_with(directory)
    toml = directory / CONFIG_FILE
    if toml.exists():
        config = load_config(toml)
    elif begun is not None:
        config = Config(generation=begun, query=query_profile("media" if begun.profile == "media" else "shop"))
    else:
        config = default_config(profile or "shop")
    if profile is not None and config.generation.profile != profile:
        raise ConfigError(
            f"{directory} is of profile {config.generation.profile!r}, asked for {profile!r}: leave the profile "
            "out, or use another directory",
            key="profile",
            value=profile,
        )
    check_generation(directory, config.generation)
    return config


def check_generation(directory: Path, wanted: FoldConfig) -> None:
    """Raise `GenerationMismatch` if the directory was begun with another `[generation]`."""
    begun = _begun_with(directory)
    if begun is None or begun == wanted:
        return
    differing = [f for f in wanted.__struct_fields__ if getattr(begun, f) != getattr(wanted, f)]
    shown = "; ".join(f"{f}: log {getattr(begun, f)!r:.120}, asked {getattr(wanted, f)!r:.120}" for f in differing)
    raise GenerationMismatch(
        f"{directory}: [generation] differs from the log's in {shown}. State is not changed under a running log: "
        "restore the value, or build the next generation with `headwater replay DIR --to NEW_DIR --config NEW.toml`",
        found=differing,
        expected=[],
    )


def begin(directory: Path, config: Config) -> None:
    """Make the directory and note the generation, if that was not done yet. Durable when it returns."""
    try:
        made = [path for path in (directory, *directory.parents) if not path.exists()]
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / GENERATION_FILE
        if not path.exists():
            # First the directories: where the file is, they last. A directory lasts when its entry in its parent does.
            for new in made or [directory]:
                sync_directory(new.parent)
            write_whole(path, generation_json(config))
    except OSError as err:
        raise StoreError(f"{directory}: cannot be used: {err.strerror or err}", path=str(directory)) from err


def generation_json(config: Config) -> bytes:
    """What `generation.json` holds."""
    return msgspec.json.format(msgspec.json.encode(config.generation))


def check_made(directory: Path) -> None:
    """Raise `ConfigError` if the directory is not there: for what should not begin a new one where a name was mistyped.
    An empty one is begun with the defaults."""
    if not directory.is_dir():
        raise ConfigError(
            f"{directory} does not exist; `headwater init {directory}` makes it", key="directory", value=str(directory)
        )


def check_begun(directory: Path) -> None:
    """Raise `StoreError` if the directory holds no log: for what only makes sense on one that is there."""
    if not (directory / LOG_FILE).exists():
        raise StoreError(f"{directory} holds no log; name a directory that events were written to", path=str(directory))


def _begun_with(directory: Path) -> FoldConfig | None:
    path = directory / GENERATION_FILE
    if not path.exists():
        return None
    try:
        config = fold_config_from(msgspec.json.decode(path.read_bytes(), type=dict[str, Any]))
        validate_config(Config(generation=config, query=QueryConfig()), str(path))
    except (msgspec.MsgspecError, UnicodeDecodeError, ConfigError) as err:
        raise GenerationMismatch(
            f"{path}: does not decode: {err}; restore it from a backup", found=str(path), expected="JSON"
        ) from err
    return config

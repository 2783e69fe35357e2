"""The commented `headwater.toml` that `headwater init` writes: every line that changes nothing is a comment."""

from __future__ import annotations

from pathlib import Path

from headwater.errors import StoreError

_TEMPLATE = """\
# Headwater. Everything here is optional: a line without effect is commented out and shows the default.

[generation]
# What the log is folded into. Changing it under a running log is refused; build the next generation with
#   headwater replay DIR --to NEW_DIR --config NEW.toml
profile = "{profile}"              # "shop" (browse and buy) or "media" (play, read, rate)
# session_gap_minutes = 30        # a longer pause begins a new session
# rapid_repeat_seconds = 5        # the same user, item and type within this time counts once
# recent_items = 50               # distinct items remembered exactly per user
# dedup_horizon = 10000000        # events with an event_id per partition within which a repeat is recognised
# partitions = 16                 # user partitions: the unit of ownership
# shards = 8                      # item shards
# tag_labels = ["brand", "genres", "tags", "artist", "author"]   # labels that count as tags, beside the categories

# Event types are free; these lists say what they count for. "rating>=4" is a rating of at least 4.
# votes = ["view", "click", "cart", "purchase"]         # popularity and trending
# consumption = ["purchase"]                             # bought, watched, read
# negative = ["dislike", "hide"]                         # rejects the item
# [generation.affinity_weights]                          # how much an event says about tastes
# view = 1.0
# purchase = 5.0

# Relations replace the profile's as a whole:
# [[generation.relations]]
# name = "also_bought"
# from_types = ["purchase"]
# to_types = ["purchase"]
# unit = "user"                   # "session", "user" or "basket": what counts as together
# window = 12                     # latest distinct items that a new one is paired with
# within_days = 30.0              # a longer pause closes a user unit
# half_life_days = 180.0
# capacity = 256                  # neighbours kept of one item

[query]
# How questions are answered. May change at any time; each change is an event in the log.
# seeds = 10                      # latest items that candidates are looked up from
# metric = "cosine"               # cosine, jaccard, conditional, lift, pmi, phi, llr, count
# shrinkage = 5.0                 # a pair seen c times keeps c / (c + shrinkage) of its score
# exclude_consumed = true
# consumed_expiry_days = 30.0     # consumed items come back after this long
# touched_factor = 0.5            # scores of items touched before are multiplied by this
# [query.sources]                 # weight of each source in the fusion; 0 switches it off. Replaces the map as a whole.
# also_viewed = 1.0
# session-knn = 1.0
# trending = 0.2

[engine]
# This process only; never visible in state or digests.
# threads = 2
# clock = "wall"                  # what `now` defaults to: "wall", or "log" (the last event's time, for replays)
# snapshot_every_events = 5000000
# snapshots_kept = 2
# record_slates = true            # write what was served to the log
"""


def write_template(directory: Path, profile: str) -> tuple[Path, bool]:
    """Write DIR/headwater.toml unless there is one: its path, and whether it was written. Raises `StoreError`."""
    path = directory / "headwater.toml"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(_TEMPLATE.format(profile=profile))
    except FileExistsError:
        return path, False
    except OSError as err:
        raise StoreError(f"{directory}: cannot be used: {err.strerror or err}", path=str(directory)) from err
    return path, True

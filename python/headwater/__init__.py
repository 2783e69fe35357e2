"""Headwater: an open real-time recommendation engine.

Start with `Engine`:

    import headwater as hw

    eng = hw.Engine.open("shop/")
    eng.track("view", user="bob", item="sku1")
    eng.recommend("bob", n=10)

The map, from the outside in:

* `engine`: `Engine`, the embedded engine; `questions`: the side of it that is asked; `operations`: the side of it that
  its owner sees now and then. `cli`: the command `headwater`.
  `demo`, `bench`, `measure`: what it shows and measures.
* `importer`, `ingest`, `datasets`, `simulate`: events and items in bulk, from files, public datasets or a simulator.
  `export`: the other way.
* `learning`: what recorded slates, impressions and rewards can answer: Parquet export, off-policy estimators.
* `arguments`, `scenario`, `active_query`, `answer`, `slate`, `slate_record`, `many`, `explanation`, `audit`: questions,
  the rules they are answered under, answers, their record, and why.
* `time_travel`, `served_slates`, `slate_replay`, `shadow`: the state of another time, recorded slates made again, and
  logged requests under another configuration.
* `merging`: who turned out to be whom. `feed_sync`: the catalogue against a full feed. `backup`, `archive`, `erasure`,
  `receipts`: copies, old events as Parquet, and a user's events taken out. `rewriting`: a log written anew.
* `store`, `whole_directory`, `verify`, `regenerate`: the directory, whether all in it agrees, and the next generation
  of it.
* `actors`: who owns the state and how it comes back. `events`: what happened, and the log.
* `kernels`: scoring and diversity on numpy arrays, without an engine (needs numpy).
* `core`: the door to the Rust folds, queries and kernels. `config`, `errors`, `progress`: used by all.
"""

from headwater.config import Config, default_config, load_config
from headwater.engine import Engine
from headwater.errors import HeadwaterError
from headwater.events.types import Feedback, ItemPut
from headwater.slate import Explanation, SessionView, Slate, SlateItem

__all__ = [
    "Config",
    "Engine",
    "Explanation",
    "Feedback",
    "HeadwaterError",
    "ItemPut",
    "SessionView",
    "Slate",
    "SlateItem",
    "default_config",
    "load_config",
]

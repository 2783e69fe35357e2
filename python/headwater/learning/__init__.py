"""What a log of slates can teach: who was shown what with which probability, and what came of it.

    from headwater.learning import Rewards, estimators, join

    table = join(engine.log, Rewards(values={"click": 1.0, "purchase": 5.0})).table     # one row per slot
    estimators.ips(table, my_probability)                                              # "what if", with an interval

The map, in the order of use:

* `rewards`: `Rewards`, which feedback is worth how much, and how long a slate waits for it.
* `sound_events`: the events of a log that the fold would take, each once.
* `facts`: the slates, feedback and impressions among them, in one pass.
* `people`: which user ids are one person, by the merges in the log.
* `joining`: `join`, one row per slot: item, propensities, status, reward.
* `schema`: what each column means, and which estimators each propensity supports.
* `parquet`: `export`, the rows as Parquet with that schema.
* `selection`: which rows may be learned from, and when the answer is a refusal (`CannotEstimate`).
* `obp`: `obp_feedback`, `obp_slates`, the rows as Open Bandit Pipeline takes them.
* `estimators`: `ips`, `snips`, `rips`, `sips`, with intervals over users.

Nothing here writes to a log or asks an engine. Tables are polars frames; `obp` and `estimators` need numpy
(`pip install 'headwater[learning]'`), the rest does not. The guide is `docs/guide-learning.md`.
"""

from headwater.learning.joining import Joined, join
from headwater.learning.obp import obp_feedback, obp_slates
from headwater.learning.parquet import export
from headwater.learning.rewards import Rewards, rewards_of
from headwater.learning.schema import COLUMNS, Column

__all__ = [
    "COLUMNS",
    "Column",
    "Joined",
    "Rewards",
    "export",
    "join",
    "obp_feedback",
    "obp_slates",
    "rewards_of",
]

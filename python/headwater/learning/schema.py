"""What each column of a learning table means, in what unit, and which estimators a propensity supports.

Papers, by the names used below:

* Horvitz and Thompson, "A generalization of sampling without replacement from a finite universe", JASA 1952; Strehl,
  Langford, Li and Kakade, "Learning from logged implicit exploration data", NeurIPS 2010 (IPS).
* Swaminathan and Joachims, "The self-normalized estimator for counterfactual learning", NeurIPS 2015 (SNIPS).
* Dudik, Langford and Li, "Doubly robust policy evaluation and learning", ICML 2011 (DR).
* Swaminathan, Krishnamurthy, Agarwal, Dudik, Langford, Jose and Zitouni, "Off-policy evaluation for slate
  recommendation", NeurIPS 2017 (IPS over whole slates, SIPS here).
* McInerney, Brost, Chandar, Mehrotra and Carterette, "Counterfactual evaluation of slate recommendations with
  sequential reward interactions", KDD 2020 (RIPS).
* Li, Abbasi-Yadkori, Kveton, Muthukrishnan, Vinay and Wen, "Offline evaluation of ranking policies with click models",
  KDD 2018 (IIPS).
"""

from __future__ import annotations

from typing import Any

import msgspec

SCHEMA_VERSION = 1
STATUSES = ("rewarded", "negative", "unobserved", "open")


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """One column. `dtype` is the polars type's name; `estimators` is given for propensities."""

    name: str
    dtype: str
    meaning: str
    unit: str | None = None
    estimators: dict[str, str] | None = None


_PROPENSITY_ESTIMATORS = {
    "IPS, SNIPS, DR on slot 0": (
        "supported: nothing stands above slot 0, so this is the plain probability of the action given the request "
        "(Strehl et al. 2010; Swaminathan and Joachims 2015; Dudik et al. 2011)"
    ),
    "IPS, SNIPS, DR on one slot k > 0": (
        "supported with the items of the slots above as part of the context, for the target too: the value of another "
        "choice at slot k below slots that stay as they were logged"
    ),
    "IIPS": (
        "not supported beyond slot 0: it needs the marginal probability of the item at the position, over everything "
        "that could stand above (Li et al. 2018); this is the conditional one"
    ),
    "PI (pseudoinverse)": (
        "not supported: it needs the marginal and pairwise probabilities of items at positions (Swaminathan et al. "
        "2017)"
    ),
}
_CASCADE_ESTIMATORS = {
    "RIPS": (
        "supported at each slot: the weight of slot k is the target's product over slots 0..k divided by this; exact "
        "if a slot's reward depends on its item and those above, not below (McInerney et al. 2020)"
    ),
    "SIPS": (
        "supported at the last slot, where it is the probability of the whole slate: one weight for all its rewards, "
        "no assumption about how slots interact, the highest variance (Swaminathan et al. 2017)"
    ),
    "IPS, SNIPS, DR on one slot": "not supported: use `propensity`; the two agree at slot 0",
    "IIPS": "not supported: not a marginal",
}

COLUMNS = (
    Column("slate", "String", "id of the slate"),
    Column("user", "String", "who was answered"),
    Column("ts", "Int64", "`now` of the question, the time of the slate", "UTC milliseconds"),
    Column("scenario", "String", "scenario of the question; null: none was named"),
    Column("variant", "String", "variant of an experiment; null: none"),
    Column("config_version", "String", "version of the [query] configuration that answered"),
    Column("scorer_version", "String", "version of the scoring code"),
    Column("position", "Int64", "log position of the slate's record", "frames, from 1"),
    Column("slot", "Int64", "place in the slate", "0 is the first"),
    Column("item", "String", "what was shown there: the action"),
    Column("score", "Float64", "the engine's score; comparable within one slate"),
    Column("source", "String", "candidate source that weighed most"),
    Column(
        "propensity",
        "Float64",
        "probability that the engine put this item here, given the request and the items of the slots above. 1 in a "
        "slot that was not explored or is pinned",
        "probability, (0, 1]",
        _PROPENSITY_ESTIMATORS,
    ),
    Column(
        "propensity_cascade",
        "Float64",
        "running product of `propensity` down to this slot (a pinned slot counts 1): the probability of the slate so "
        "far",
        "probability, (0, 1]",
        _CASCADE_ESTIMATORS,
    ),
    Column("pinned", "Boolean", "a rule put the item here. Leave these rows out when learning: nothing was chosen"),
    Column(
        "seen",
        "Boolean",
        "an impression named the slot, or it was rewarded; false: impressions of the slate named others only; null: "
        "the slate has no impression, nobody knows",
    ),
    Column(
        "impressed",
        "Boolean",
        "an impression named the slot. Choose rows by this, not by `seen`: a rewarded slot is always seen, and "
        "choosing by outcome biases every estimate upwards",
    ),
    Column("closed", "Boolean", "the reward window was over at the log's clock. Rows before that may still change"),
    Column(
        "status",
        "String",
        "rewarded: a rewarding feedback within the window; negative: named by an impression, the window over, no "
        "reward; unobserved: no impression, no reward, the window over; open: no reward yet, the window not over",
    ),
    Column("reward", "Float64", "maximum (or sum) of the slot's rewards within the window; 0 without", "as in rewards"),
    Column("reward_type", "String", "type of the feedback with the highest reward, the earliest of equals"),
    Column("reward_ts", "Int64", "time of that feedback", "UTC milliseconds"),
    Column("delay_ms", "Int64", "`reward_ts` - `ts`", "milliseconds"),
)


def schema_document(settings: dict[str, Any]) -> dict[str, Any]:
    """The schema as plain data, with the settings and counts of one export."""
    return {
        "format": "headwater-learning",
        "version": SCHEMA_VERSION,
        "rows": "one per slot of a served slate, slates in log order, slots from 0",
        "columns": [msgspec.to_builtins(column) for column in COLUMNS],
        **settings,
    }

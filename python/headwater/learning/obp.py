"""Learning tables as Open Bandit Pipeline (`obp`) takes them: dictionaries of numpy arrays.

Saito, Aihara, Matsutani and Narita, "Open Bandit Dataset and Pipeline", NeurIPS 2021 Datasets and Benchmarks. Written
against obp 0.4.1, which this module does not import. The names are obp's: `position` is the slot here, not a log
position, and `pscore` a propensity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from headwater.errors import InvalidInput
from headwater.learning.selection import ROW, Outcomes, slate_rows, slot_rows

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Context = Sequence[str] | Callable[[pl.DataFrame], NDArray[np.float64]]


def obp_feedback(
    table: pl.DataFrame,
    *,
    slot: int | None = 0,
    outcomes: Outcomes = "impressed",
    items: Sequence[str] | None = None,
    context: Context | None = None,
) -> dict[str, Any]:
    """Bandit feedback of single slots, for obp's IPW, SNIPW, DM and DR: slot `slot`, or with `None` every slot.

    A dictionary: `n_rounds`, `n_actions`, `action` (n,) int64 index into `items`, `position` (n,) int64, `reward` (n,),
    `pscore` (n,) the conditional propensity, `context` (n, d) float64; and beside what obp asks for, `items` (index ->
    item) and `row` (n,) int64 (row of the table). `position` indexes the last axis of obp's `action_dist`: 0 when one
    slot is asked for, else the slot. Beyond slot 0 the slots above are context: see `schema`.

    `items` fixes the index, for a catalogue larger than what was shown; default: the shown items, sorted. `context`:
    names of columns (numbers as they are, text one-hot by its sorted values), or a callable on the chosen rows;
    default one column of ones. Raises `CannotEstimate`, `InvalidInput`.
    """
    import numpy as np

    rows = slot_rows(table, slot, outcomes)
    index, action = _actions(rows, items)
    return {
        "n_rounds": len(rows),
        "n_actions": len(index),
        "action": action,
        "position": rows["slot"].to_numpy() if slot is None else np.zeros(len(rows), dtype=np.int64),
        "reward": rows["reward"].to_numpy(),
        "pscore": rows["propensity"].to_numpy(),
        "context": _context(rows, context),
        "items": index,
        "row": rows[ROW].to_numpy().astype(np.int64),
    }


def obp_slates(
    table: pl.DataFrame,
    *,
    outcomes: Outcomes = "impressed",
    items: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Slates, for obp's `SlateStandardIPS` (`pscore`) and `SlateRewardInteractionIPS` (`pscore_cascade`).

    A dictionary: `n_rounds` (slates), `n_actions`, `slate_id` (n,) int64 index into `slates`, `position` (n,) int64
    (the slot), `action`, `reward`, `pscore` (n,) probability of the whole slate, equal in all its rows,
    `pscore_cascade` (n,) down to the slot; beside them `items`, `slates` and `row`. All unpinned slots of a slate are
    there; one that nobody saw earned 0. There is no `pscore_item_position`: the log does not hold marginals, so no
    IIPS. Target probabilities in the same form: `estimators.slate_target`. Raises `CannotEstimate`, `InvalidInput`.
    """
    import numpy as np

    rows = slate_rows(table, outcomes)
    index, action = _actions(rows, items)
    slates = rows["slate"].unique(maintain_order=True).to_list()
    number = {slate: n for n, slate in enumerate(slates)}
    return {
        "n_rounds": len(slates),
        "n_actions": len(index),
        "slate_id": np.array([number[slate] for slate in rows["slate"]], dtype=np.int64),
        "position": rows["slot"].to_numpy(),
        "action": action,
        "reward": rows["reward"].to_numpy(),
        "pscore": rows.select(_last("propensity_cascade")).to_series().to_numpy(),
        "pscore_cascade": rows["propensity_cascade"].to_numpy(),
        "items": index,
        "slates": slates,
        "row": rows[ROW].to_numpy().astype(np.int64),
    }


def _last(column: str) -> pl.Expr:
    import polars as pl

    return pl.col(column).last().over("slate")


def _actions(rows: pl.DataFrame, items: Sequence[str] | None) -> tuple[list[str], NDArray[np.int64]]:
    import numpy as np

    index = sorted(rows["item"].unique().to_list()) if items is None else list(items)
    number = {item: n for n, item in enumerate(index)}
    if len(number) != len(index):
        raise InvalidInput("items: an item is named twice; allowed: each once", field="items", rule="each item once")
    unknown = sorted(set(rows["item"]) - number.keys())
    if unknown:
        raise InvalidInput(
            f"items: {len(unknown)} shown items are not among them, first {unknown[0]!r}; allowed: all shown items",
            field="items",
            value=unknown[0],
        )
    return index, np.array([number[item] for item in rows["item"]], dtype=np.int64)


def _context(rows: pl.DataFrame, context: Context | None) -> NDArray[np.float64]:
    import numpy as np

    if context is None:
        return np.ones((len(rows), 1))
    if callable(context):
        matrix = np.asarray(context(rows), dtype=np.float64)
        if matrix.ndim != 2 or len(matrix) != len(rows):
            rule = f"({len(rows)}, d) numbers"
            raise InvalidInput(f"context: shape {matrix.shape}; allowed: {rule}", field="context", rule=rule)
        return matrix
    unknown = [name for name in context if name not in rows.columns]
    if isinstance(context, str) or unknown or not context:
        rule = f"names among {', '.join(rows.columns)}"
        raise InvalidInput(f"context = {context!r:.80}; allowed: {rule}", field="context", rule=rule)
    parts: list[NDArray[np.float64]] = []
    for name in context:
        values = rows[name]
        if values.dtype.is_numeric() or str(values.dtype) == "Boolean":
            parts.append(values.to_numpy().astype(np.float64)[:, None])
        else:
            known = sorted(values.drop_nulls().unique().to_list())
            parts.extend((values == value).fill_null(False).to_numpy().astype(np.float64)[:, None] for value in known)
    return np.concatenate(parts, axis=1) if parts else np.ones((len(rows), 1))

"""Which rows may be learned from, chosen without looking at what came of them; and when there is no answer.

Left out: pinned slots (nothing was chosen there) and slates whose reward window is not over (rewarded ones would be
in, the others not yet). What counts as an outcome:

* `impressed`: what an `Impression` names. For single slots the slots it named; for slates every slot of a slate that
  has one, where a slot that nobody saw earned 0.
* `served`: everything served; a slot without reward earned 0. Right where every reward is logged, whether impressions
  are or not: the value is then per slot or slate served.

A slot that was rewarded without an impression is not `impressed`: to take it in and leave its unrewarded neighbours
out would be to choose by outcome.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NoReturn

from headwater.errors import CannotEstimate, InvalidInput
from headwater.learning.schema import COLUMNS

if TYPE_CHECKING:
    import polars as pl

Outcomes = Literal["impressed", "served"]

ROW = "row"
"""Column that selections add: the row's number in the table."""

_PROPENSITIES = ("propensity", "propensity_cascade")
_PRODUCT_TOLERANCE = 1e-6


def slot_rows(table: pl.DataFrame, slot: int | None, outcomes: Outcomes) -> pl.DataFrame:
    """Rows of one slot (`None`: of all) with their outcome, in the table's order. Raises `CannotEstimate`."""
    import polars as pl

    rows = _learnable(table, outcomes)
    if outcomes == "impressed":
        rows = rows.filter("impressed")
    if slot is not None:
        if isinstance(slot, bool) or not isinstance(slot, int) or slot < 0:
            raise InvalidInput(f"slot = {slot!r}; allowed: a number from 0, or None", field="slot", value=repr(slot))
        rows = rows.filter(pl.col("slot") == slot)
    _check_rows(table, rows, outcomes)
    _check_propensities(rows, "propensity")
    return rows


def slate_rows(table: pl.DataFrame, outcomes: Outcomes) -> pl.DataFrame:
    """Rows of whole slates with their outcome, slate by slate, slots from the first. Raises `CannotEstimate`."""
    rows = _learnable(table, outcomes)
    if outcomes == "impressed":
        # Of the whole table: an impression that names only pinned slots is one too.
        rows = rows.join(table.filter("impressed"), on="slate", how="semi")
    rows = rows.sort("position", "slate", "slot")
    _check_rows(table, rows, outcomes)
    for column in _PROPENSITIES:
        _check_propensities(rows, column)
    _check_products(rows)
    return rows


def _check_products(rows: pl.DataFrame) -> None:
    """The cascade is the running product of the propensities: else rows are missing, or the record is another's."""
    product = _column("propensity").cum_prod().over("slate")
    broken = rows.filter((product / _column("propensity_cascade") - 1).abs() > _PRODUCT_TOLERANCE)
    if len(broken):
        first = broken.row(0, named=True)
        refuse(
            "propensity_cascade",
            f"slate {first['slate']}, slot {first['slot']}: {first['propensity_cascade']!r} is not the product of the "
            "propensities down to it: give whole slates, as `join` makes them",
        )


def _learnable(table: pl.DataFrame, outcomes: Outcomes) -> pl.DataFrame:
    missing = [column.name for column in COLUMNS if column.name not in table.columns]
    if missing:
        raise InvalidInput(
            f"table without {', '.join(missing)}; allowed: what `join` or a learning export gives",
            field="table",
            value=missing,
        )
    if outcomes not in ("impressed", "served"):
        raise InvalidInput(f"outcomes = {outcomes!r}; allowed: impressed, served", field="outcomes", value=outcomes)
    return table.with_row_index(ROW).filter("closed").filter(~_column("pinned"))


def _column(name: str) -> pl.Expr:
    import polars as pl

    return pl.col(name)


def _check_rows(table: pl.DataFrame, rows: pl.DataFrame, outcomes: Outcomes) -> None:
    if len(rows):
        return
    if not len(table):
        refuse("table", "the log holds no slates: record them (record_slates) and export again")
    if not table["closed"].any():
        refuse("closed", "no slate's reward window is over yet: wait, or export with a shorter window")
    if outcomes == "impressed" and not table["impressed"].any():
        refuse(
            "impressed",
            "no slot is named by an impression: log `Impression` events, or ask with outcomes='served' if every "
            "reward is logged",
        )
    refuse("rows", "no row is left: of these slots all are pinned, unseen or still open")


def _check_propensities(rows: pl.DataFrame, column: str) -> None:
    sound = _column(column).is_finite() & (_column(column) > 0) & (_column(column) <= 1)
    broken = rows.filter(~sound.fill_null(False))
    if len(broken):
        first = broken.row(0, named=True)
        refuse(
            column,
            f"{len(broken)} of {len(rows)} rows have no {column} in (0, 1], first {first[column]!r} of slate "
            f"{first['slate']}, slot {first['slot']}: leave these slates out, their policy is not known",
        )
    if column == "propensity" and (rows[column] == 1).all():
        refuse(
            column,
            "every propensity is 1: this log cannot answer what-if: exploration was 0. Serve with exploration > 0 and "
            "ask again",
        )


def refuse(field: str, rule: str) -> NoReturn:
    """Raises `CannotEstimate`."""
    raise CannotEstimate(f"{field}: {rule}", field=field, rule=rule)

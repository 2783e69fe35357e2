"""The hosts of a cluster as a table: `headwater status --url`."""

from __future__ import annotations

import sys
from typing import Any

from headwater.cli.output import show
from headwater.cli.remote import connect_remote, where

_COLUMNS = ("host", "phase", "position", "lag", "owns", "memory", "snapshot", "queries/s", "events/s", "trouble")


def show_hosts(as_json: bool) -> None:
    """Print what every host of the cluster tells. Exits 1 if one of them does not answer visitors."""
    with connect_remote() as client:
        hosts = client.status()
    show(as_json, {"hosts": hosts}, _table(hosts))
    if any(host["phase"] != "ready" for host in hosts):
        sys.exit(1)


def _table(hosts: list[dict[str, Any]]) -> object:
    from rich.table import Table

    table = Table(*_COLUMNS, title=where(None))
    for host in hosts:
        table.add_row(*_row(host))
    return table


def _row(host: dict[str, Any]) -> list[str]:
    if host["phase"] == "silent":
        return [host["host"], "silent", *("" for _ in _COLUMNS[2:-1]), "does not answer"]
    parts = [f"{len(host[kind])} {kind}" for kind in ("partitions", "shards") if host[kind]]
    age = host["snapshot_age_s"]
    refused = ", ".join(f"{count:,} {code}" for code, count in sorted(host["refused"].items()))
    trouble = [host["message"], *host["passed_over"], refused and f"refused: {refused}"]
    trouble += [f"{host['degraded']:,} degraded answers"] if host["degraded"] else []
    trouble += [f"{host['dead_letters']:,} dead letters"] if host["dead_letters"] else []
    return [
        host["host"],
        host["phase"],
        f"{host['position']:,}",
        f"{host['lag']:,}",
        ", ".join(parts),
        f"{host['memory_bytes'] / 1e6:,.0f} MB",
        f"{host['snapshot_position']:,}" + ("" if age is None else f", {age:.0f} s old"),
        f"{host['queries_per_s']:,.1f}",
        f"{host['events_per_s']:,.1f}",
        "\n".join(said for said in trouble if said),
    ]

"""The one door to the Rust extension.

`Core` holds the folded state of one engine. Frames go in as bytes in log order, questions and answers are MessagePack
of the structs in `headwater.slate`; everything long runs without the GIL. This module adds the configuration's
encoding and nothing else. The kernels (`Int8Store`, `quantize`, `diversify_*`) are for `headwater.kernels`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from headwater._core import (
    FOLD_VERSION,
    NO_TEXT,
    BloomKernel,
    CooccurrenceKernel,
    Core,
    DedupKernel,
    Door,
    Int8Store,
    LeftQuestion,
    LineVisits,
    PacedTurn,
    RecordGroup,
    RecordQueue,
    SessionKernel,
    SlateScan,
    SlateShelf,
    Timer,
    UsualSlate,
    UsualSlates,
    VerbTimes,
    Wire,
    WrittenState,
    all_merged,
    catalogue_page,
    diversify_codes,
    diversify_tags,
    diversify_vectors,
    embedding_dims,
    event_faults,
    frame_fault,
    frame_faults,
    graph_sizes,
    graphs_due,
    grow_graphs,
    hash_bytes,
    hash_event_ids,
    hash_texts,
    is_forgotten,
    knows_event,
    merged_users,
    message_size,
    moving_state,
    multiply_adds,
    quantize,
    reason_sentence,
    reply_position,
    scatter_at_once,
    session_voters,
    simd_path,
    stable_hash,
    stop_graphs,
    stream_words,
    write_out,
)
from headwater._core import generation_id as _generation_id
from headwater.config import Config, FoldConfig
from headwater.scenario import QueryConfig

__all__ = [
    "FOLD_VERSION",
    "NO_TEXT",
    "BloomKernel",
    "CooccurrenceKernel",
    "Core",
    "DedupKernel",
    "Door",
    "Int8Store",
    "LeftQuestion",
    "LineVisits",
    "Ownership",
    "PacedTurn",
    "RecordGroup",
    "RecordQueue",
    "SessionKernel",
    "SlateScan",
    "SlateShelf",
    "Timer",
    "UsualSlate",
    "UsualSlates",
    "VerbTimes",
    "Wire",
    "WrittenState",
    "all_merged",
    "catalogue_page",
    "diversify_codes",
    "diversify_tags",
    "diversify_vectors",
    "embedding_dims",
    "event_faults",
    "frame_fault",
    "frame_faults",
    "generation_of",
    "graph_sizes",
    "graphs_due",
    "grow_graphs",
    "hash_bytes",
    "hash_event_ids",
    "hash_texts",
    "is_forgotten",
    "knows_event",
    "merged_users",
    "message_size",
    "moving_state",
    "multiply_adds",
    "new_core",
    "quantize",
    "query_json",
    "reason_sentence",
    "reply_position",
    "restore_core",
    "scatter_at_once",
    "session_voters",
    "simd_path",
    "stable_hash",
    "stop_graphs",
    "stream_words",
    "whole_digest",
    "write_out",
]


class Ownership(NamedTuple):
    """What one host keeps: the users of some partitions, or the items of some shards."""

    partitions: tuple[int, ...] = ()
    shards: tuple[int, ...] = ()

    @classmethod
    def session(cls, partitions: Iterable[int]) -> Ownership:
        """A session host. It is fed the frames of these partitions, of the catalogue and of control."""
        return cls(partitions=tuple(partitions))

    @classmethod
    def item(cls, shards: Iterable[int]) -> Ownership:
        """An item host. It is fed the whole log."""
        return cls(shards=tuple(shards))


def fold_json(config: FoldConfig) -> bytes:
    """The canonical bytes of a fold configuration: they identify the generation."""
    return msgspec.json.encode(config, order="sorted")


def query_json(config: QueryConfig) -> bytes:
    """The canonical bytes of a query configuration: logged when it is activated."""
    return msgspec.json.encode(config, order="sorted")


def generation_of(config: FoldConfig) -> str:
    """Identity of the generation that this configuration makes with this version of the fold, as 32 hex digits."""
    return _generation_id(fold_json(config))


def new_core(config: Config, threads: int, owned: Ownership | None = None) -> Core:
    """The state before the first frame, folded by `threads` threads: of a whole engine, or of the host that owns
    `owned`. Raises `ConfigError` for partitions or shards that there are not."""
    return Core(fold_json(config.generation), query_json(config.query), threads, owned)


def restore_core(
    config: Config, threads: int, parts: Sequence[tuple[str, bytes]], owned: Ownership | None = None
) -> Core:
    """The state of a snapshot's parts; those of other hosts are passed over. Raises `SnapshotInvalid` naming the part
    and what is wrong with it."""
    return Core.restore(fold_json(config.generation), query_json(config.query), threads, parts, owned)


def whole_digest(config: Config, hosts: Iterable[Mapping[str, str]]) -> str:
    """The digest that an engine with everything would have, from those of hosts that stand at one position. Raises
    `ValueError` where two hosts have the same part differently, and where no host has a part."""
    fold = config.generation
    parts: dict[str, str] = {}
    for host in hosts:
        for part, digest in host.items():
            if part != "whole" and parts.setdefault(part, digest) != digest:
                raise ValueError(f"part {part} is {parts[part]} on one host and {digest} on another")
    wanted = ["control", "catalogue", "neighbourhood"]
    wanted += [f"partition-{p:02}" for p in range(fold.partitions)] + [f"shard-{s}" for s in range(fold.shards)]
    if missing := [part for part in wanted if part not in parts]:
        raise ValueError(f"no host has {', '.join(missing)}")
    return f"{sum(int(parts[part], 16) for part in wanted) % 2**128:032x}"

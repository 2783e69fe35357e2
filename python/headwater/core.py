"""The one door to the Rust extension.

`Core` holds the folded state of one engine. Frames go in as bytes in log order, questions and answers are MessagePack
of the structs in `headwater.slate`; everything long runs without the GIL. This module adds the configuration's
encoding and nothing else. The kernels (`Int8Store`, `quantize`, `diversify_*`) are for `headwater.kernels`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headwater._core import (
    FOLD_VERSION,
    BloomKernel,
    CooccurrenceKernel,
    Core,
    DedupKernel,
    Int8Store,
    LineVisits,
    SessionKernel,
    all_merged,
    catalogue_page,
    diversify_codes,
    diversify_tags,
    diversify_vectors,
    event_faults,
    frame_fault,
    hash_bytes,
    hash_event_ids,
    hash_texts,
    is_forgotten,
    knows_event,
    merged_users,
    moving_state,
    multiply_adds,
    quantize,
    simd_path,
    stable_hash,
    stream_words,
)
from headwater._core import generation_id as _generation_id
from headwater.config import Config, FoldConfig
from headwater.scenario import QueryConfig

__all__ = [
    "FOLD_VERSION",
    "BloomKernel",
    "CooccurrenceKernel",
    "Core",
    "DedupKernel",
    "Int8Store",
    "LineVisits",
    "SessionKernel",
    "all_merged",
    "catalogue_page",
    "diversify_codes",
    "diversify_tags",
    "diversify_vectors",
    "event_faults",
    "frame_fault",
    "generation_of",
    "hash_bytes",
    "hash_event_ids",
    "hash_texts",
    "is_forgotten",
    "knows_event",
    "merged_users",
    "moving_state",
    "multiply_adds",
    "new_core",
    "quantize",
    "query_json",
    "restore_core",
    "simd_path",
    "stable_hash",
    "stream_words",
]


def fold_json(config: FoldConfig) -> bytes:
    """The canonical bytes of a fold configuration: they identify the generation."""
    return msgspec.json.encode(config, order="sorted")


def query_json(config: QueryConfig) -> bytes:
    """The canonical bytes of a query configuration: logged when it is activated."""
    return msgspec.json.encode(config, order="sorted")


def generation_of(config: FoldConfig) -> str:
    """Identity of the generation that this configuration makes with this version of the fold, as 32 hex digits."""
    return _generation_id(fold_json(config))


def new_core(config: Config, threads: int) -> Core:
    """The state before the first frame, folded by `threads` threads."""
    return Core(fold_json(config.generation), query_json(config.query), threads)


def restore_core(config: Config, threads: int, parts: Sequence[tuple[str, bytes]]) -> Core:
    """The state of a snapshot's parts. Raises `SnapshotInvalid` naming the part and what is wrong with it."""
    return Core.restore(fold_json(config.generation), query_json(config.query), threads, parts)

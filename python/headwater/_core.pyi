"""Types of the Rust extension. Private: everything goes through `headwater.core`."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FOLD_VERSION",
    "Core",
    "Int8Store",
    "diversify_codes",
    "diversify_tags",
    "diversify_vectors",
    "event_faults",
    "frame_fault",
    "generation_id",
    "quantize",
    "simd_path",
    "stable_hash",
]

FOLD_VERSION: int

def frame_fault(frame: bytes) -> str | None: ...
def event_faults(frame: bytes, max_future_ms: int) -> list[tuple[int, str]]: ...
def stable_hash(text: str) -> int: ...
def generation_id(fold_json: bytes) -> str: ...

@final
class Core:
    def __new__(cls, fold_json: bytes, query_json: bytes, threads: int) -> Core: ...
    @staticmethod
    def restore(fold_json: bytes, query_json: bytes, threads: int, parts: Sequence[tuple[str, bytes]]) -> Core: ...
    def apply(self, first: int, frames: Sequence[bytes]) -> tuple[dict[str, int], list[tuple[int, int, str]]]: ...
    @property
    def position(self) -> int: ...
    @property
    def clock(self) -> int: ...
    @property
    def generation(self) -> str: ...
    def active_config(self) -> str | None: ...
    def digest(self) -> dict[str, str]: ...
    def snapshot(self) -> tuple[int, list[tuple[str, bytes]]]: ...
    def recommend(self, request: bytes) -> bytes: ...
    def similar(self, request: bytes) -> bytes: ...
    def trending(self, request: bytes) -> bytes: ...
    def session_view(self, user: str, now: int) -> bytes | None: ...
    def knows_item(self, item: str) -> bool: ...
    def high_water(self, partition: int, producer: int, epoch: int) -> int | None: ...
    def stats(self) -> dict[str, Any]: ...

def simd_path() -> str: ...
def quantize(vectors: NDArray[np.float32], dim: int, codes: NDArray[np.int8], scales: NDArray[np.float32]) -> None: ...
def diversify_vectors(
    method: tuple[int, float, int | None] | tuple[int, float],
    vectors: NDArray[np.float32],
    dim: int,
    relevance: NDArray[np.float32],
    indices: NDArray[np.uint32],
    values: NDArray[np.float32],
) -> int: ...
def diversify_codes(
    method: tuple[int, float, int | None] | tuple[int, float],
    codes: NDArray[np.int8],
    dim: int,
    relevance: NDArray[np.float32],
    indices: NDArray[np.uint32],
    values: NDArray[np.float32],
) -> int: ...
def diversify_tags(
    method: tuple[int, float, int | None] | tuple[int, float],
    starts: NDArray[np.uint32],
    tags: NDArray[np.uint32],
    relevance: NDArray[np.float32],
    indices: NDArray[np.uint32],
    values: NDArray[np.float32],
) -> int: ...

@final
class Int8Store:
    def __new__(cls, dim: int, capacity: int) -> Int8Store: ...
    def __len__(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def memory(self) -> int: ...
    def add(self, vectors: NDArray[np.float32]) -> int: ...
    def put(self, ids: NDArray[np.uint32], vectors: NDArray[np.float32]) -> None: ...
    def get(self, ids: NDArray[np.uint32], codes: NDArray[np.int8], scales: NDArray[np.float32]) -> None: ...
    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        ids: NDArray[np.uint32],
        scores: NDArray[np.float32],
        mask: NDArray[np.uint8] | None,
        packed: bool,
        min_score: float,
        threads: int,
        exact: NDArray[np.float32] | None,
        oversample: int,
    ) -> list[int]: ...
    def slate(
        self,
        query: NDArray[np.float32],
        pool: int,
        trade_off: float,
        ids: NDArray[np.uint32],
        scores: NDArray[np.float32],
        mask: NDArray[np.uint8] | None,
        packed: bool,
        threads: int,
    ) -> int: ...

"""The one door to usearch: a graph of vectors that finds items whose inner product with a query is probably large.

HNSW (Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical navigable small
world graphs", TPAMI 2018). Graphs need a distance, and an inner product is none: vectors get one more component that
gives them all one length (Bachrach et al., "Speeding up the Xbox recommender system using a Euclidean transformation
for inner-product spaces", RecSys 2014). Other than there, this is not the length of the longest: a few long ones would
make all others look alike. The longest tenth stay as they are, and are easily found since they are long.

A graph only grows. An item that is set again gets another node and its old one is never answered again; `worn` says
how much of the graph is of no more use. What is right and what is exact is decided above, in `ann`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headwater.errors import HeadwaterError
from headwater.kernels.arrays import int_of
from headwater.kernels.scoring import NO_ITEM

if TYPE_CHECKING:
    from usearch.index import Index

_STEP = 512  # vectors that are added at a time; searches that came meanwhile go in between


class HnswSettings(NamedTuple):
    """How a graph is built and walked: more is slower, larger and finds more.

    `connectivity` (M of the paper, 2 to 256): links of a node. `expansion_add` (efConstruction) and `expansion_search`
    (ef), 1 to 65,536: how many candidates are kept while a node is added and while a query is answered.
    """

    connectivity: int = 16
    expansion_add: int = 128
    expansion_search: int = 128

    def checked(self) -> HnswSettings:
        """Itself. Raises `InvalidArray` for a number out of bounds."""
        int_of("connectivity", self.connectivity, 2, 256)
        int_of("expansion_add", self.expansion_add, 1, 65_536)
        int_of("expansion_search", self.expansion_search, 1, 65_536)
        return self


class HnswGraph:
    """Items 0 to n - 1 and their vectors as a graph. Searches may run beside one change: they take turns."""

    def __init__(self, dim: int, length: float, settings: HnswSettings) -> None:
        """`length`: to which vectors are filled up; longer ones stay as they are.

        Raises `HeadwaterError` where usearch is not installed.
        """
        self._dim = dim
        self._length = length or 1.0
        self._index = _usearch_index(dim + 1, settings)
        # usearch does not promise that one graph can be read and written at a time.
        self._lock = threading.Lock()
        self._item_of_node = np.empty(0, np.uint32)
        self._node_of_item = np.empty(0, np.int64)
        self._nodes = self._items = 0

    @property
    def items(self) -> int:
        """Items that it knows: 0 to this number less one."""
        return self._items

    @property
    def nodes(self) -> int:
        """Nodes, those included that no item has any more."""
        return self._nodes

    @property
    def worn(self) -> float:
        """Share of the nodes that no item has any more."""
        return (self._nodes - self._items) / max(self._nodes, 1)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return int(self._index.memory_usage) + self._item_of_node.nbytes + self._node_of_item.nbytes

    def set(self, ids: NDArray[np.uint32], codes: NDArray[np.int8], scales: NDArray[np.float32], threads: int) -> None:
        """Adds or replaces items: ids (n,), distinct, new ones without a gap; codes (n, d); scales (n,).

        O(n log N d) for N nodes, times `expansion_add`.
        """
        for start in range(0, len(ids), _STEP):
            part = slice(start, start + _STEP)
            vectors = codes[part] * (scales[part, None] / np.float64(self._length)).astype(np.float32)
            squares = np.square(vectors.astype(np.float64)).sum(axis=1)
            rest = np.sqrt(np.maximum(0.0, 1.0 - squares)).astype(np.float32)
            with self._lock:
                self._append(ids[part], np.column_stack([vectors, rest]), threads)

    def near(self, queries: NDArray[np.float32], count: int, threads: int) -> NDArray[np.uint32]:
        """Items whose nodes are probably among the `count` with the largest inner products; uint32 (q, at most count).

        `queries`: float32 (q, d), finite and not zero. Each item at most once, in no stated order; places of nodes that
        no item has any more are `NO_ITEM`. O(q count log N d), about.
        """
        lengths = np.sqrt(np.square(queries.astype(np.float64)).sum(axis=1, keepdims=True))
        rows = np.zeros((len(queries), self._dim + 1), np.float32)
        rows[:, : self._dim] = queries / lengths
        with self._lock:
            found: Any = self._index.search(rows, min(count, self._nodes), threads=threads)
            # usearch answers one row as if it had been a vector.
            keys, counts = (found.keys, found.counts) if len(rows) > 1 else (found.keys[None], [len(found.keys)])
            known = np.arange(keys.shape[1]) < np.asarray(counts)[:, None]
            nodes = np.where(known, keys, 0).astype(np.int64)
            items = self._item_of_node[nodes]
            return np.where(known & (self._node_of_item[items] == nodes), items, np.uint32(NO_ITEM))

    def _append(self, ids: NDArray[np.uint32], vectors: NDArray[np.float32], threads: int) -> None:
        items = max(self._items, int(ids.max()) + 1)
        nodes = np.arange(self._nodes, self._nodes + len(ids))
        self._item_of_node = _room(self._item_of_node, self._nodes + len(ids))
        self._node_of_item = _room(self._node_of_item, items)
        # Nodes that are added side by side do not see each other. In a graph that is nearly empty some would be left
        # without a link that leads to them, so one thread lays the ground.
        self._index.add(nodes, vectors, threads=threads if self._nodes else 1)
        self._item_of_node[nodes] = ids
        self._node_of_item[ids] = nodes
        self._nodes, self._items = self._nodes + len(ids), items


def _room(array: NDArray[Any], length: int) -> NDArray[Any]:
    """The array with at least this length; it doubles, so that growing by one costs O(1) on average."""
    if len(array) >= length:
        return array
    grown = np.zeros(max(length, 2 * len(array)), array.dtype)
    grown[: len(array)] = array
    return grown


def _usearch_index(dim: int, settings: HnswSettings) -> Index:
    try:
        from usearch.index import Index
    except ModuleNotFoundError as missing:
        raise HeadwaterError(
            f"a graph needs usearch, and {missing.name} is not installed: pip install 'headwater[ann]'"
        ) from missing
    return Index(
        ndim=dim,
        metric="ip",
        dtype="f32",
        connectivity=settings.connectivity,
        expansion_add=settings.expansion_add,
        expansion_search=settings.expansion_search,
        enable_key_lookups=False,
    )

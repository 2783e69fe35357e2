"""The kernels behind the engine, for use without it: numpy arrays in and out, the GIL released, no copies.

    from headwater.kernels import Int8Index, mmr

    index = Int8Index(dim=64)
    index.add(item_vectors)                          # (n, 64) float32
    ids, scores = index.search(user_vector, k=500)   # int8 scores of all n, the best 500

The map:

* `scoring`: `Int8Index`, exact top-k over int8 vectors; `quantize`.
* `ann`: `AnnIndex`, the same with a graph beside it for many vectors. `hnsw`: the graph, by usearch.
* `bloom`: `BloomFilter`, `RotatingBloomFilter`, `DedupLedger`.
* `diversity`: `mmr` and `dpp` choose few of many that are relevant and unlike each other; `slate` scores and chooses.
* `cooccurrence`: `CooccurrenceCounts`, items touched together, by seven measures.
* `session_knn`: `SessionIndex`, what comes next in a session.
* `arrays`: what the kernels accept as arrays, and how they refuse the rest.

They run on AVX-512 VNNI, AVX2 or plain Rust, whichever is the fastest that the CPU has, and give the same bits on
each. The environment variable `HEADWATER_SIMD` (auto, avx512, avx2, portable), read at the first use, forces one;
`simd_path()` says which it is. Arrays must be C-contiguous and of the type that the docstring names: nothing is
converted behind the caller's back. Errors are `headwater.errors.InvalidArray`.

Needs numpy: `pip install 'headwater[kernels]'`; graphs need usearch: `pip install 'headwater[ann]'`.
"""

from headwater.core import simd_path
from headwater.kernels.ann import AnnIndex, ExactRule, Routes
from headwater.kernels.bloom import (
    BEYOND_HORIZON,
    FRESH,
    REPEAT,
    BloomFilter,
    DedupLedger,
    RotatingBloomFilter,
    hash_event_ids,
    hash_keys,
)
from headwater.kernels.cooccurrence import CooccurrenceCounts
from headwater.kernels.diversity import TagSets, dpp, mmr, slate
from headwater.kernels.hnsw import HnswSettings
from headwater.kernels.scoring import NO_ITEM, Int8Index, quantize
from headwater.kernels.session_knn import SessionIndex

__all__ = [
    "BEYOND_HORIZON",
    "FRESH",
    "NO_ITEM",
    "REPEAT",
    "AnnIndex",
    "BloomFilter",
    "CooccurrenceCounts",
    "DedupLedger",
    "ExactRule",
    "HnswSettings",
    "Int8Index",
    "RotatingBloomFilter",
    "Routes",
    "SessionIndex",
    "TagSets",
    "dpp",
    "hash_event_ids",
    "hash_keys",
    "mmr",
    "quantize",
    "simd_path",
    "slate",
]

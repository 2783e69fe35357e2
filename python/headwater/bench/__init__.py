"""Benchmarks: a whole engine on a scene, kernels beside their peers, and what bounded rows lose.

* `engine_bench`: `headwater bench`: import, rebuild, queries and freshness of a whole engine.
* `kernel_bench`: `headwater bench kernels`: every kernel beside its peers and the machine's limit, in one run.
    * `row`: what one line of the result says, and its arithmetic. `timing`: interleaved, repeated timing.
    * `machine`: the processor, and its limits. `peers`: which there are.
    * One file per family: `filter_rows`, `scoring_rows` ...
    * `logs`: the logs that are folded, as frames in memory. `zipf`: a log with a long tail.
* `recall_bench`: `headwater bench recall`: bounded co-occurrence rows against exact ones.
* `recommend_bench`: `headwater bench recommend`: whole slates on a large shop. `large_shop`: that shop.
* `diversity_bench`: `headwater bench diversity`: what unlikeness gives and costs on MovieLens-1M.
* `ann_bench`: `headwater bench ann`: approximate search against the exact scan.
* `latency`: `headwater bench latency`: open-loop load on an engine or a cluster, percentiles beside floors.
* `ingest_bench`, `rebuild_bench`: `headwater bench ingest` and `bench rebuild`: logs of up to 50 million events.
    * `event_supply`: those events. `disk`: what the disk can do. `log_plots`: pictures.
* `guard`: `headwater bench guard`: ratios to floors that CI holds.
* `http_bench`: `headwater bench http`: what HTTP adds to a question.
* `report`: results as a table for people and as a plot. `markdown`: as tables of a document.

Nothing here is imported by the engine. Peers and plots need the dependency group `bench`; what is not installed is
named in its row.
"""

"""How good is it: published protocols and honest replay, always on the real engine.

    headwater evaluate --format sessions --path DIR --source session-knn --json

The map:

* `reading`: tables of unknown origin as columns of known names; `sessions`, `splits`, `events`: the three formats, and
  what is done with rows that are odd.
* `configured`: configuration files with a table `[evaluate]`, and what holds without one. `contender`: a configuration
  and the source that answers.
* `trial`: the engine under trial, fed with frames and asked as `Engine` asks.
* `metrics`: accuracy of one list; `score`: of many.
* `next_item`, `ranking_items`: the protocols session-next-item, fixed-split and leave-one-out.
* `replay`: the prequential protocol; `past`: what it knows of the past beside the engine; `outcomes`: what came of it,
  by segment and over time; `beyond`: coverage, novelty and the like; `paired`: differences with intervals.
* `tuning`: the search for a better configuration.
* `run`: from files to figures; `page`: figures for people.

Needs numpy (`pip install 'headwater[report]'`); nothing here writes to a log or a directory. What was found is in
`docs/quality.md`.
"""

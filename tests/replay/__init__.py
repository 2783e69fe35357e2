"""Golden frames and a golden log: what both sides of the format, and every version of the fold, must agree on.

* `golden_events`: the events and frames, built by rule.
* `golden_log`: a log of them with everything that a fold must decide, built by rule.
* `make_golden`: writes `golden/`; the command to make it anew.
"""

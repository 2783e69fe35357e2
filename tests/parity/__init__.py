"""Figures that estimates must agree with: another tool's, and the truth; and the scripts that made them.

* `obp_input`: the exploring shop's log, exported, as Open Bandit Pipeline takes it.
* `obp_numbers`: what obp makes of it; runs in an environment of its own.
* `make_obp_golden`: both, into `golden/obp.json`, or compared with it.
* `coverage`: how often intervals hold the truth, over many logs.
"""

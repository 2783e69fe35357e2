"""What `ranx` says of lists: run by a Python that has it, see `make_ranx_golden.py`. JSON in, JSON out."""

import json
import sys
from importlib.metadata import version

from ranx import Qrels, Run, evaluate

MEASURES = {"hr": "hit_rate", "mrr": "mrr", "ndcg": "ndcg", "precision": "precision", "recall": "recall"}

asked = json.load(sys.stdin)
qrels = Qrels({f"q{n}": dict.fromkeys(relevant, 1) for n, (_, relevant) in enumerate(asked["lists"])})
scores = [{item: float(1000 - place) for place, item in enumerate(ranked)} for ranked, _ in asked["lists"]]
run = Run({f"q{n}": of_list for n, of_list in enumerate(scores)})
told = {}
for k in asked["k"]:
    evaluate(qrels, run, [f"{measure}@{k}" for measure in MEASURES.values()], make_comparable=True)
    told[str(k)] = {
        name: [float(run.scores[f"{measure}@{k}"][f"q{n}"]) for n in range(len(asked["lists"]))]
        for name, measure in MEASURES.items()
    }
json.dump({"ranx": version("ranx"), "scores": told}, sys.stdout)

"""An experiment from end to end on the simulated shop: half of the visitors keep their slates, some get diverse ones, a
holdout gets what is popular. Run it with a directory to make: python docs/example/experiment.py shop
"""

import sys
from pathlib import Path
from random import Random

import headwater as hw
from headwater.events.types import Feedback
from headwater.simulate import DAY, simulate_shop

CONFIG = """
[experiments.slates]

[experiments.slates.variants]
control = { share = 0.5 }
diverse = { share = 0.25, query = { diversity = 0.4 } }
popular = { share = 0.25, serve = "popular" }
"""
VISITORS, VISITS = 800, 3000


def main(directory: Path) -> None:
    directory.mkdir()
    (directory / "headwater.toml").write_text(CONFIG)
    shop = simulate_shop(seed=7, events=24_000)
    about = {row["item"]: (row["categories"][0], row["labels"]["price"]) for row in shop.items}
    random = Random(7)
    with hw.Engine.open(directory, clock="log") as engine:
        engine.put_items(shop.items)
        engine.ingest(shop.events, progress=False)
        begin = engine.now()
        users = random.sample(sorted(shop.facts.tastes), VISITORS)
        events: list[Feedback] = []
        for visit in range(VISITS):
            # A visitor comes back now and then over four weeks. What they like, they click; some of it they buy.
            now, user = begin + visit * 28 * DAY // VISITS, random.choice(users)
            slate = engine.recommend(user, n=6, now=now)
            for slot, item in enumerate(slate):
                category, price = about[item.item]
                if random.random() < (0.12 if category in shop.facts.tastes[user] else 0.01):
                    click = {"user": user, "item": item.item, "slate": slate.id, "slot": slot}
                    events.append(Feedback("click", ts=now + 20_000 * (slot + 1), **click))
                    if random.random() < 0.3:
                        bought = Feedback("purchase", user, item.item, now + 600_000, value=price, basket=slate.id)
                        events.append(bought)
            if len(events) >= 50 or visit == VISITS - 1:
                engine.track_many(events)
                events = []
        engine.flush()
        print(f"{VISITS} slates; {users[0]} is in {engine.variant_of(users[0], 'slates')}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

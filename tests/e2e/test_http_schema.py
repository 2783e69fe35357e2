"""schemathesis against the OpenAPI document: whatever the schema allows or forbids, answers are those that the document
names. Many cases are slow; HEADWATER_HTTP_CASES says how many for each operation (`make http-fuzz`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headwater import Engine
from headwater.http import examples
from headwater.http.keys import add_key
from web.serving import Served

CASES = int(os.environ.get("HEADWATER_HTTP_CASES", "10"))
SCHEMATHESIS = str(Path(sys.executable).parent / "schemathesis")

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    directory = tmp_path_factory.mktemp("schema") / "shop"
    with Engine.open(directory) as engine:
        for n in range(10):
            engine.put_item(f"sku{n}", categories=["shoes"])
            engine.track("view", user="bob", item=f"sku{n}")
        slate = engine.recommend("bob", 3)
        assert slate.id == "1-1", "the examples name it"
    key = add_key(directory, "fuzz", "admin")
    with Served(directory) as served:
        yield served, key


def test_every_example_of_the_document_is_answered(served: tuple[Served, str]) -> None:
    with httpx.Client(base_url=served[0].url, headers={"x-api-key": served[1]}, timeout=30) as client:
        document = client.get("/openapi.json").json()
        sent = 0
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
                for example in content.get("schema", {}).get("examples", []) + list(
                    content.get("examples", {}).values()
                ):
                    body = example["value"] if isinstance(example, dict) and "value" in example else example
                    answer = client.request(method, path.replace("{item}", "sku1").replace("{user}", "bob"), json=body)
                    assert answer.status_code == 200, (path, answer.text)
                    sent += 1
        named = [value for name, value in vars(examples).items() if name.isupper()]
        assert sent >= sum(map(len, named))


@pytest.mark.parametrize(
    ("phases", "cases"),
    [("examples,fuzzing", 2), pytest.param("examples,coverage,fuzzing", CASES, marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_schemathesis_finds_nothing(served: tuple[Served, str], tmp_path: Path, phases: str, cases: int) -> None:
    """Left out: that all of what the schema allows is accepted. A schema cannot say that a filter parses, that an item
    is known, or how many bytes an id has; such requests are refused with a problem, which is checked."""
    command = [SCHEMATHESIS, "run", f"{served[0].url}/openapi.json", "-H", f"X-API-Key: {served[1]}"]
    command += ["--max-examples", str(cases), "--seed", "7", "--exclude-checks", "positive_data_acceptance"]
    command += ["--phases", phases, "--no-color", "--generation-database", "none"]
    hooks = {"SCHEMATHESIS_HOOKS": "web.schema_hooks", "PYTHONPATH": str(Path(__file__).parents[1])}
    environment = {**os.environ, **hooks}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert served[0].process.poll() is None

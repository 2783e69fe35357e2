"""The guides of the HTTP gateway: their blocks run from top to bottom against servers where the pages say they are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from headwater import Engine
from web.serving import Served

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("curl") is None, reason="the guides use curl"),
]


def run_blocks(page: str, place: Path, ports: dict[str, Served]) -> list[str]:
    """What each block prints; the page's ports are those of the servers."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    printed = []
    for language, code in _FENCE.findall((ROOT / "docs" / page).read_text()):
        if language not in ("sh", "python"):
            continue
        for port, served in ports.items():
            code = code.replace(f"localhost:{port}", "{}:{}".format(*served.address))
        command = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-W", "error", "-c"]
        done = subprocess.run([*command, code], cwd=place, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        assert done.stdout, code
        printed.append(done.stdout)
    return printed


def test_the_guide_over_http_does_what_it_says(tmp_path: Path) -> None:
    with Served(tmp_path / "shop") as served:
        told, slate, keys, problem = run_blocks("guide-http.md", tmp_path, {"8088": served})
        assert '"count":4' in told
        assert '"item":"tent"' not in slate
        assert '"reason":' in slate
        assert keys.split()[-1] == "200", "begun without keys"
        assert '"type":"/problems/invalid-query"' in problem
        assert "invalid-query (422)" in problem
    with Served(tmp_path / "shop") as served, httpx.Client(base_url=served.url, timeout=30) as client:
        assert client.post("/v1/recommend", json={"user": "zoe"}).status_code == 401, "begun with keys"
        key = (tmp_path / "php-site.key").read_text().strip()
        assert client.post("/v1/recommend", json={"user": "zoe"}, headers={"x-api-key": key}).status_code == 200


def test_the_guide_from_gorse_moves_everything(tmp_path: Path) -> None:
    """The old server is one of ours that speaks gorse: no other is at hand here."""
    now = 1_767_225_600_000
    with Engine.open(tmp_path / "old") as engine:
        for item in ("tent", "stove", "mug"):
            engine.put_item(item, categories=["camping"], labels={"tags": ["green"]}, comment=item)
        engine.put_user("bob", labels={"segment": "new"})
        for n, user in enumerate(("bob", "eve", "ann")):
            for k, item in enumerate(("tent", "stove", "mug")):
                engine.track("view", user=user, item=item, ts=now + n * 1_000_000 + k * 10_000)
    with Served(tmp_path / "old") as old, Served(tmp_path / "shop") as new:
        rows, _, answers = run_blocks("guide-from-gorse.md", tmp_path, {"8087": old, "8088": new})
        assert rows.startswith("9 rows")
        assert "stove" in answers
        with httpx.Client(base_url=new.url, timeout=30) as client:
            assert client.get("/api/item/mug").json()["Labels"] == ["green"]
            assert client.get("/api/user/bob").json()["Labels"] == {"segment": "new"}
            assert client.get("/v1/users/eve").json()["events"] == 3
    # The bulk import that the page shows reads the same file.
    [command] = re.findall(
        r"^headwater (import shop feedback.*)$", (ROOT / "docs" / "guide-from-gorse.md").read_text(), re.M
    )
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "headwater"),
            *command.replace("import shop", "import other").split(),
            "--json",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert '"events":9' in done.stdout
    assert '"refused":0' in done.stdout

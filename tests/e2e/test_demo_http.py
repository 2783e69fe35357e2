"""The demonstration with a live page at its end."""

import json
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from headwater import Engine
from web.serving import HEADWATER

pytestmark = pytest.mark.e2e


def test_the_demonstration_ends_with_a_live_page_that_visitors_come_to(tmp_path: Path) -> None:
    place = tmp_path / "shop"
    command = [HEADWATER, "demo", "--events", "2000", "--dir", str(place), "--http", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            figures = json.loads(process.stdout.readline())
            served = json.loads(process.stdout.readline())
            assert figures["events"] == 2000
            with httpx.Client(base_url=served["url"], timeout=30) as client:
                deadline = time.monotonic() + 60
                while client.get("/").text.count('class="who"') < 3:
                    assert time.monotonic() < deadline, "no visitor came"
                    time.sleep(0.1)
        finally:
            process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
        assert "Traceback" not in told
    with Engine.open(place, read_only=True, clock="log") as engine:
        assert engine.position > served["position"], "what visitors did is kept"
        assert engine.verify().equal

"""Records of requests outlive the process that writes them, and are blank after they were taken."""

from __future__ import annotations

import subprocess
import sys

from headwater.bench.latency.records import ANSWERED, NOT_SENT, Records

WRITER = """
import os, signal, sys
from headwater.bench.latency.records import ANSWERED, Records
records = Records(int(sys.argv[1]))
records.begin(0, 1, 2)
records.end(0, 3, ANSWERED, 99)
records.begin(1, 4, 5)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_wrote_is_there() -> None:
    records = Records.create()
    done = subprocess.run([sys.executable, "-c", WRITER, str(records.fd)], pass_fds=[records.fd], check=False)
    assert done.returncode == -9
    rows = records.take(3)
    assert rows[0].tolist() == (1, 2, 3, 99, ANSWERED)
    assert rows[1].tolist() == (4, 5, 0, 0, NOT_SENT)
    assert rows[2].tolist() == (0, 0, 0, 0, NOT_SENT)
    assert records.take(3)[0].tolist() == (0, 0, 0, 0, NOT_SENT)
    records.close()

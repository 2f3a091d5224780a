"""Kill -9 at random moments: nothing wrong is ever read, and nothing is left behind.

The rounds are those of ``crash_rounds.py``, all 200 of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROUNDS = 200


def test_killed_writers_and_readers_leave_nothing_wrong_and_nothing_behind() -> None:
    script = Path(__file__).with_name("crash_rounds.py")
    command = [sys.executable, "-P", str(script), "--rounds", str(ROUNDS)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.stdout, ended.stderr
    found = json.loads(ended.stdout)
    assert found["first problems"] == []
    assert ended.returncode == 0, ended.stderr
    wrong = {name: found[name] for name in ("wrong", "raised", "torn", "leaked", "problems")}
    assert wrong == dict.fromkeys(wrong, 0)
    # The rounds were worth something: writes and reads happened, and kills tore writes apart.
    assert found["rounds"] == ROUNDS
    assert found["put"] > ROUNDS
    assert found["read"] > ROUNDS
    assert found["killed in mid-put"] > ROUNDS // 20
    assert min(found[name] for name in ("deleted", "dropped", "verified", "promises")) > 0

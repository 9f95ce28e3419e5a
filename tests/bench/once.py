"""Run a command once and print as JSON what it took: ``python -I once.py COMMAND...``.

A process of its own, because the peak memory of a child counts what its parent held when it was forked: this one holds
less than any command that is compared.
"""

import json
import os
import sys
import time

started = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, used = os.wait4(pid, 0)
wall_s = time.perf_counter() - started
report = {
    "status": os.waitstatus_to_exitcode(status),
    "wall_s": wall_s,
    "cpu_s": used.ru_utime + used.ru_stime,
    "peak_bytes": used.ru_maxrss * 1024,
}
print(f"\n{json.dumps(report)}")

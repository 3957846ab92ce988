"""What every peer does alike: read the workload, time the join, say what it took, write the answer."""

import json
import os
import sys
import time


class Workload:
    """The description that `pit generate` wrote."""

    def __init__(self, path):
        with open(path) as file:
            spec = json.load(file)
        self.views = spec["views"]
        self.window = spec["window"]
        self.root = spec["root"]
        self.spine = os.path.join(self.root, spec["spine"])

    def files(self, view):
        return os.path.join(self.root, view["source"], "*.parquet")

    def outputs(self):
        return [f"{v['name']}__{f['name']}" for v in self.views for f in v["features"]]


def memory(field):
    """Bytes of memory of this process; `VmHWM` is the most it ever held."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def main(prepare, versions):
    """`prepare(workload)` returns the timed call; that returns the rows and how to write them to a file."""
    workload = Workload(sys.argv[1])
    result = sys.argv[2] if len(sys.argv) > 2 else None
    join = prepare(workload)
    base = memory("VmHWM")
    # Here the time limit begins, too.
    print('\n{"begun": true}', flush=True)
    start = time.perf_counter()
    rows, write = join()
    seconds = time.perf_counter() - start
    report = {
        "seconds": seconds,
        "rows": rows,
        "peak_bytes": memory("VmHWM"),
        "base_bytes": base,
        "versions": versions,
    }
    sys.stdout.write("\n" + json.dumps(report) + "\n")
    sys.stdout.flush()
    # Writing the answer is not part of the work.
    if result:
        write(result)
    # Nothing is left to be said, and some engines take long to clean up.
    os._exit(0)

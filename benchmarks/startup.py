"""How long `songbloom --help` takes as a whole process, against a bare interpreter in the same run.

python benchmarks/startup.py --runs 11
"""

import argparse
import statistics
import subprocess
import sys
import time


def seconds(command: list[str], runs: int) -> float:
    """Median wall seconds of a command, after one run to warm up."""
    times = []
    for _ in range(runs + 1):
        started_at = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started_at)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    bare = seconds([sys.executable, "-c", "pass"], runs)
    shown = seconds([sys.executable, "-m", "songbloom_cli", "--help"], runs)
    print(f"--help {shown:.3f} s, bare interpreter {bare:.3f} s, ratio {shown / bare:.1f}")


if __name__ == "__main__":
    main()

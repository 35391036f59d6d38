"""`python -m bench.oversight [--quick] [--json FILE] [--cases FILE]`: interception and asks, by policy.

With `--cases` the file's cases are played instead of the project's own; it has the form of `benign.yaml` and
`attacks.yaml` beside this, each case with its `kind`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path

from bench.oversight.cases import load, own_cases
from bench.oversight.run import POLICIES, Tally, play

QUICK = ("sayso",)


def report(tallies: list[Tally]) -> str:
    lines = ["policy       interception   when all is approved   asks per benign task   (writes)   benign done"]
    for tally in tallies:
        c = tally.cell()
        lines.append(
            f"{c['policy']:<12} {c['interception']:>12.1%} {c['interception_when_all_is_approved']:>22.1%}"
            f" {c['asks_per_benign_task']:>22.2f} {c['writes_per_benign_task']:>10.2f} {c['benign_done']:>13.1%}"
        )
        if c["policy"] == "sayso":
            lines += [f"  slipped: {name}" for name in c["slipped"]]
        lines += [f"  not done: {name}" for name in c["not_done"]]
        lines += [f"  the model never met it: {name}" for name in c["unmet"]]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="sayso bench oversight", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only Sayso's own policy")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--cases", type=Path, metavar="FILE", help="play these cases instead of the project's own")
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    try:
        cases = load(given.cases) if given.cases else own_cases()
    except (OSError, ValueError) as error:
        print(f"the cases cannot be read: {error}", file=sys.stderr)
        return 2
    tallies = asyncio.run(play(cases, QUICK if given.quick else tuple(POLICIES)))
    print(report(tallies))
    if given.json:
        given.json.write_text(json.dumps({"cells": [t.cell() for t in tallies]}, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Stands for a coding agent: takes a goal, changes a file, and tells it as JSON events, one a line."""

import json
import pathlib
import re
import sys


def main(goal: str) -> None:
    what = re.search(r"(?P<what>[^\n(]+) \(project (?P<project>\w+)\)", goal)
    assert what, goal
    with pathlib.Path("changes.txt").open("a") as changes:
        changes.write(f"{what['what']}\n")
    done = f"Done: {what['what']} (project {what['project']})"
    usage = {"input_tokens": 900, "output_tokens": 60}
    print(json.dumps({"type": "result", "subtype": "success", "result": done, "total_cost_usd": 0.004, "usage": usage}))


main(sys.argv[1])

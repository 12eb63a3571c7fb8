"""Stands for a coding agent: takes a goal, changes a file, and tells it as JSON events, one a line."""

import json
import pathlib
import sys
import time

STEPS = 20


def say(**event: object) -> None:
    print(json.dumps(event), flush=True)


def main(goal: str) -> None:
    say(type="system", subtype="init", model="workshop-1", session_id="w-1")
    say(type="assistant", message={"content": [{"type": "text", "text": f"I begin: {goal}"}]})
    for _ in range(STEPS):  # thinks for two seconds
        time.sleep(0.1)
    greeting = pathlib.Path("greeting.txt")
    greeting.write_text(greeting.read_text().replace("Hello", "Good morning"))
    say(
        type="assistant", message={"content": [{"type": "tool_use", "name": "Edit", "input": {"file": "greeting.txt"}}]}
    )
    usage = {"input_tokens": 1200, "output_tokens": 80}
    say(type="result", subtype="success", result="The greeting is polite now.", total_cost_usd=0.0042, usage=usage)


main(sys.argv[1])

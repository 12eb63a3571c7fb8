"""Claude Code and Codex themselves, from the npm registry, in the sandbox, asking a scripted model server through the
proxy. Only with OSTINATO_CRASH=full: installing them takes about half a minute and 500 MB.

    npm install --prefix /var/tmp/ostinato-coding-agents @openai/codex @anthropic-ai/claude-code
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ostinato.domain.task import TaskState
from tests.conftest import FULL, run, wait_until
from tests.processes.test_coding_agents import furnish, outcome_of
from tests.processes.yard import folder, yard

__all__ = ["folder"]

pytestmark = pytest.mark.slow

CACHE = Path(os.environ.get("OSTINATO_CODING_AGENTS", "/var/tmp/ostinato-coding-agents"))
PACKAGES = ("@openai/codex", "@anthropic-ai/claude-code")
SCRIPT = """
rules:
  - when: {{call: "2+"}}
    text: "It is made."
  - when: {{offered: Write}}
    calls: [{{tool: Write, args: {{file_path: "{home}/made.txt", content: "made\\n"}}}}]
  - when: {{offered: exec_command}}
    calls: [{{tool: exec_command, args: {{cmd: "echo made > made.txt"}}}}]
  - when: {{offered: shell_command}}
    calls: [{{tool: shell_command, args: {{command: "echo made > made.txt"}}}}]
  - when: {{offered: shell}}
    calls: [{{tool: shell, args: {{command: [sh, -c, "echo made > made.txt"]}}}}]
default: {{text: "There is no tool to make it with."}}
"""
CODEX = """---
kind: command
command:
  argv: [codex, exec, --json, --skip-git-repo-check, --dangerously-bypass-approvals-and-sandbox,
         -c, model_provider=local, -c, 'model_providers.local={{name="local",base_url="http://127.0.0.1:{port}/v1",wire_api="responses"}}',
         -m, scripted, "{{goal}}"]
---
"""
CLAUDE = """---
kind: command
command:
  argv: [claude, -p, "{{goal}}", --output-format, stream-json, --verbose, --model, scripted, --permission-mode,
         bypassPermissions]
  environment: {{ANTHROPIC_BASE_URL: "http://127.0.0.1:{port}", ANTHROPIC_API_KEY: none,
                CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1", DISABLE_AUTOUPDATER: "1"}}
---
"""
TOOLS = """---
allow: [exec.start]
exec: {{commands: [codex, claude], paths: [{modules}, {modules}/.bin], lasts: 5m, network: ["127.0.0.1:{port}"]}}
network: ["127.0.0.1:{port}"]
---
"""


def installed() -> Path:
    """The folder of the packages, installed where they are not."""
    modules = CACHE / "node_modules"
    if not (modules / ".bin/codex").exists() or not (modules / ".bin/claude").exists():
        words = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(CACHE), *PACKAGES]
        subprocess.run(words, check=True, capture_output=True, timeout=300)
    return modules


@contextlib.contextmanager
def served(script: Path) -> Iterator[int]:
    """The port of a scripted model server."""
    port = script.with_suffix(".port")
    command = [sys.executable, "-m", "ostinato.models.scripted", str(script), "--port-file", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: port.exists() and port.read_text())
        yield int(port.read_text())
    finally:
        server.terminate()
        server.wait()


def write_agent(folder: Path, agent: str, *, port: int) -> str:
    furnish(folder)
    home = folder / "agents/helper"
    (home / "AGENTS.md").write_text(agent.format(port=port))
    return TOOLS.format(modules=installed(), port=port)


if FULL:

    @pytest.mark.parametrize("agent", [CODEX, CLAUDE], ids=["codex", "claude"])
    def test_a_real_coding_agent_does_a_goal_in_the_sandbox(folder: Path, tmp_path: Path, agent: str) -> None:
        script = tmp_path / "script.yaml"
        script.write_text(SCRIPT.format(home=folder / "agents/helper"))

        async def story(port: int) -> None:
            tools = write_agent(folder, agent, port=port)
            async with yard(folder, "default: {text: no}", tools=tools) as fleet:
                goal = await fleet.goal("Make a file.")
                ended = await fleet.ended(goal)
                assert ended.state is TaskState.DONE, ended.result
                assert ended.result is not None
                assert ended.result.data is not None
                assert ended.result.text == "It is made."
                assert (fleet.workspace / "made.txt").exists(), (await outcome_of(fleet, goal)).text
                assert "+made" in ended.result.data["diff"]
                assert ended.tokens > 0

        with served(script) as port:
            run(story(port), timeout_s=120.0)

"""A turn writes, appends to and edits files of the agent's own, and notes what it did: with tools that may run again
under the same key, and must not show it."""

from __future__ import annotations

from tests.crash.scenario import FREE, Scenario, goal, script

SCENARIO = Scenario(
    name="own files",
    agents={"clerk": {"AGENTS.md": FREE}},
    script=script("""
rules:
  - when: {user: report, call: 1}
    calls:
      - {tool: files.write, args: {path: out/report.md, text: "A draft.\\n"}}
      - {tool: files.append, args: {path: out/log.md, text: "begun\\n"}}
      - {tool: memory.note, args: {text: a report is on its way}}
  - when: {asked: report, call: 2}
    calls:
      - {tool: files.edit, args: {path: out/report.md, old: A draft, new: The end}}
  - when: {asked: report, call: 3}
    calls:
      - {tool: files.append, args: {path: out/log.md, text: "ended\\n"}}
"""),
    arrivals=(goal("report", "clerk", key="report"),),
    ends=1,
    work=("agents/clerk/out/log.md: begun\nended\n", "agents/clerk/out/report.md: The end.\n"),
)

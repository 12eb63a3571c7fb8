"""The crash harness: scenarios that are killed everywhere, and a judge who looks at the world outside the store.

- `outside`: the log of the world, appended to by tools, models and people, never by the runtime
- `deeds`, `voice`, `person`: a tool for each effect, a scripted model, somebody who answers questions
- `scenario`, `scenarios/`: what a small fleet is to do; `stage`: the node that does it
- `forge`: a process that keeps all imports ready and forks a node for each run; `trial`: runs, kills, runs on
- `judge`: compares a run that was killed with one that was not
- `bugs`: one seeded bug for each promise, which the judge must notice
"""

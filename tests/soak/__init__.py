"""Long lives: a node with several clients that are killed, and one that is killed and goes on for half an hour.

- `client`: a process that adds tasks until it is told that they are safe, or only reads
- `gauges`: what a process takes of its machine, and whether that grows
"""

"""Processes that outlast the turn that started them, and the node: each hangs on a small program of its own.

`shim` is that program; `handle` finds it again, `start` starts it; `handler` and `warden` make a task of it. Knows
nothing of models or sessions.
"""

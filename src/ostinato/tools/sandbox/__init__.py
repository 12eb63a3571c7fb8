"""Where commands of agents run: they see what they need, and nothing else is there.

Pure: `room` (what a command may do), `syscall_filter` and `bubblewrap` (how the kernel is told). Acting: `account`,
`program`, `protected`, `command`. `preflight` tries to escape before anybody else does. Knows nothing of tools.
"""

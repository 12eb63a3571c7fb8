"""The composition root: the only place where adapters are named and the rooms of a fleet are put together.

`build` makes a whole node; `call_here` performs one operation in this process while no node runs. Everything heavy is
loaded inside, so that a command that finds a node loads none of it. Knows nothing of commands or screens.
"""

from ostinato.app.alone import FleetHeld, call_here, copy_here, open_context, recover_here, restore_here
from ostinato.app.fleet_app import FleetApp, build
from ostinato.app.parts import definitions_of, make_state_folder, open_store_of, spare_imports

__all__ = [
    "FleetApp",
    "FleetHeld",
    "build",
    "call_here",
    "copy_here",
    "definitions_of",
    "make_state_folder",
    "open_context",
    "open_store_of",
    "recover_here",
    "restore_here",
    "spare_imports",
]

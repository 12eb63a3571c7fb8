"""The tools that every fleet has, in the order in which models are shown them.

Knows nothing of agents: which of them may see a tool, their policy says.
"""

from __future__ import annotations

from ostinato.tools.files import file_tools
from ostinato.tools.memory import memory_tools
from ostinato.tools.messages import message_tools
from ostinato.tools.tasks import task_tools
from ostinato.tools.toolbox import Toolbox
from ostinato.tools.turn import turn_tools


def standard_toolbox() -> Toolbox:
    """A new box with all tools of the runtime."""
    return Toolbox((*turn_tools(), *file_tools(), *memory_tools(), *task_tools(), *message_tools()))

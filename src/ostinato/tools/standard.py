"""The tools that every fleet has, in the order in which models are shown them.

Knows nothing of agents: which of them may see a tool, their policy says.
"""

from __future__ import annotations

from collections.abc import Collection

from ostinato.tools.children import child_tools
from ostinato.tools.commands import CommandPlace
from ostinato.tools.exec_tools import exec_tools
from ostinato.tools.files import file_tools
from ostinato.tools.memory import memory_tools
from ostinato.tools.messages import message_tools
from ostinato.tools.plans import plan_tools
from ostinato.tools.processes.process_tools import process_tools
from ostinato.tools.router import Router
from ostinato.tools.tasks import task_tools
from ostinato.tools.toolbox import Toolbox
from ostinato.tools.turn import turn_tools
from ostinato.tools.web.place import WebPlace
from ostinato.tools.web.web_tools import web_tools


def standard_toolbox(
    commands: CommandPlace | None = None,
    *,
    web: WebPlace | None = None,
    router: Router | None = None,
    models: Collection[str] = (),
) -> Toolbox:
    """A new box with all tools of the runtime. `commands`: where they run; `web`: what they ask by; None: those tools
    are described only. `router`: who says which agent gets a task. `models`: what a sub-agent's can be; none: any."""
    inside = (
        *turn_tools(),
        *file_tools(),
        *memory_tools(),
        *task_tools(router),
        *plan_tools(router),
        *child_tools(models),
        *message_tools(),
    )
    return Toolbox((*inside, *exec_tools(commands), *process_tools(commands), *web_tools(web)))

"""Random plans of a script server. Knows nothing of dialects."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from ostinato.domain.chat import Usage
from ostinato.models.scripted.script import Plan, PlannedCall
from ostinato.models.scripted.wire import Identity

IDENTITY = Identity(id="x", model="m", created=1)

_calls = st.builds(
    PlannedCall,
    tool=st.just("files__read"),
    arguments=st.dictionaries(st.text(max_size=5), st.text(max_size=30), max_size=3).map(json.dumps),
)

plans = st.builds(
    Plan,
    rule=st.just("r"),
    text=st.text(max_size=60),
    thinking=st.text(max_size=60),
    calls=st.lists(_calls, max_size=3).map(tuple),
    usage=st.just(Usage(input_tokens=9, cached_tokens=3, written_tokens=2, output_tokens=4)),
)

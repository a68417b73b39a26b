"""What the rankers that train nothing share: the pretrained encoder, where it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

from gradts_plugin.offers import RankingContext
from gradts_plugin.protocols import ProbeTarget


@contextmanager
def pretrained(context: RankingContext) -> Iterator[Callable[[], ProbeTarget]]:
    """Lends the pretrained encoder, loaded at the first call: not at all where all is stored."""
    with ExitStack() as stack:

        @cache
        def target() -> ProbeTarget:
            return stack.enter_context(
                context.untrained((context.primary_task,), context.settings.seed)
            )

        yield target

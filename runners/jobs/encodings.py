"""Name the forms that lie in a job's state: the version that this release writes, and those that it reads."""

from __future__ import annotations

from collections.abc import Mapping

from tillstream.io.read_changes import OFFSET_VERSION
from tillstream.pipelines.letters import DeadLetter, DeadLetterBatch
from tillstream.pipelines.records import ChangeBatch, ChangeEvent, Mutation, MutationBatch
from tillstream.pipelines.transactions import MutationUnit, Share
from tillstream.transforms.aggregates.groups import GROUP_VERSION
from tillstream.transforms.aggregates.messages import CONTRIBUTIONS_VERSION, Differences
from tillstream.transforms.copies import COPIES_VERSION
from tillstream.transforms.lookups.forms import LOOKUPS_VERSION
from tillstream.transforms.lookups.messages import JoinFrame, ResolveFrame
from tillstream.transforms.shard_state import SHARD_VERSION
from tillstream.transforms.trust.watching import Seen

__all__ = ["ENCODINGS", "READS"]

# What waits in the buffers of stable input are frames, and of unaligned checkpoints any that is on its way.
_FRAMES = (
    ChangeBatch,
    ChangeEvent,
    DeadLetter,
    DeadLetterBatch,
    Differences,
    JoinFrame,
    Mutation,
    MutationBatch,
    MutationUnit,
    ResolveFrame,
    Seen,
    Share,
)
ENCODINGS: dict[str, int] = {
    "contributions": CONTRIBUTIONS_VERSION,
    "copies": COPIES_VERSION,
    "group": GROUP_VERSION,
    "lookups": LOOKUPS_VERSION,
    "offset": OFFSET_VERSION,
    "shard": SHARD_VERSION,
    **{frame.__name__: frame.FRAME_VERSION for frame in _FRAMES},
}
# A decoder that takes an older version too says so here.
READS: Mapping[str, frozenset[int]] = {name: frozenset({version}) for name, version in ENCODINGS.items()}

"""Name the forms that lie in a job's state, with the version that this release writes."""

from __future__ import annotations

from tillstream.io.read_changes import OFFSET_VERSION
from tillstream.pipelines.records import ChangeBatch, DeadLetterBatch, MutationBatch
from tillstream.pipelines.transactions import MutationUnit, Share
from tillstream.transforms.shard_state import SHARD_VERSION

__all__ = ["ENCODINGS"]

# What waits in the buffers of stable input are frames.
_FRAMES = (ChangeBatch, DeadLetterBatch, MutationBatch, MutationUnit, Share)
ENCODINGS = {
    "offset": OFFSET_VERSION,
    "shard": SHARD_VERSION,
    **{frame.__name__: frame.FRAME_VERSION for frame in _FRAMES},
}

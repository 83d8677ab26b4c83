"""Give transforms the rows of other entities, current at any time and under any reordering.

```
TransformChanges   of the event's key: remembers which rows each event asks for
   | subscriptions, rows of references          | events
   == keyed by shard of the looked-up key ==    |
Resolve            the current row of each key, and the shards that asked for it
   | rows                                       |
   == keyed by shard of the event's key ========+
Join               calls `process` with the event and the rows; again whenever a row changes
```

A row goes once to a shard, however many of its events ask for it.
"""

from tillstream.transforms.lookups.stage import LOOKUP_STAGE, JoinLookups

__all__ = ["LOOKUP_STAGE", "JoinLookups"]

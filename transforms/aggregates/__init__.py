"""Keep aggregates of rows that change and go, by group and window."""

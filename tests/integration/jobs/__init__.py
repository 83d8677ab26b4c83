"""Tests of clients' jobs."""

"""Decode change events from the bytes that connectors write."""

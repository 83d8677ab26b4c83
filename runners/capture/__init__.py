"""Manage what captures a client's tables: role, publication, slot and connector, and read tables again."""

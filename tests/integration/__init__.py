"""Tests on the real local stack."""

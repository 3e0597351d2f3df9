"""Repeatable measurements, each beside something to compare it with, in one run and one table."""

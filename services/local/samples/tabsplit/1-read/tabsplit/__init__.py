"""Reads a bill and works with what is on it."""

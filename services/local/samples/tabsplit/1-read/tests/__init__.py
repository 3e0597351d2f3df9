"""The tests of tabsplit."""

"""The one door to Codex: find it, configure it, run it under a supervisor, read what it says."""

"""The one door to Codex.

`runner.run_codex(request)` is the door itself. Around it: `binary` finds Codex and tries its sandbox; `attempt` makes
the folder that it runs in, with the config that `config` renders; `supervisor`, a program of its own, keeps its whole
process tree under one lock and one fate; `events` reads what it says, `record` keeps it, `failures` names how it
failed; `leftovers` kills what an earlier run left. `config`, `events` and `failures` are pure.
"""

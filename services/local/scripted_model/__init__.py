"""A loopback Responses API that plays prepared turns, so that the real Codex CLI works without a real model."""

from services.local.scripted_model.script import Script, ScriptError, load_script, parse_script
from services.local.scripted_model.server import Heard, ScriptedModel

__all__ = ["Heard", "Script", "ScriptError", "ScriptedModel", "load_script", "parse_script"]

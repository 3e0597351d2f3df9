"""The demo: the main job on a sample repository, driven through the public REST API, watched, checked at its end."""

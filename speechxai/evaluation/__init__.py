"""The main job: recordings to scored explanations, in run folders that survive a crash."""

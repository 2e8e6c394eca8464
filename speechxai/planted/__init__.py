"""The benchmark with a known truth: which explanation points at a cue that was planted?"""

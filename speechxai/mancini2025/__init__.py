"""The published protocol (mancini2025investigating), kept apart so that its numbers can be met and its defects seen."""

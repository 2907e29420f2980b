"""The operator's policy: which events may be recorded, and which of their properties."""

"""What host applications need; each module is imported by its host only."""

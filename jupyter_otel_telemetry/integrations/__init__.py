"""Integrations for host applications; each module is imported by its host only."""

"""An event as a log record, and its lines in files."""

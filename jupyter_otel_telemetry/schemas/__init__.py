"""Which schemas there are, and whether an event matches one."""

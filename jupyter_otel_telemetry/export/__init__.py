"""How a record leaves this process: the handler, its pipeline, the end of the program."""

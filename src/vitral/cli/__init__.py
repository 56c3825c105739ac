"""The command line: one short file a command, which parses, calls and prints. Only this room knows the terminal."""

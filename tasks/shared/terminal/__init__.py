"""What reaches a terminal, and names that a stranger may have chosen."""

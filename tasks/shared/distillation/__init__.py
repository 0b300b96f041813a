"""Learning from a teacher: a frozen network whose answers a student imitates (Secs. 4.5 and 4.7)."""

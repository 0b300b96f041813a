"""Files and folders: written whole, read within bounds."""

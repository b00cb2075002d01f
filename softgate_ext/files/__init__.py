"""Files and folders: written at once or not at all, locked, checked before work is done."""

"""Files and folders: atomic writing, locks, safe reading, checks of paths before work starts."""

"""One module per version of the tables, oldest first; a module that has been released never changes."""

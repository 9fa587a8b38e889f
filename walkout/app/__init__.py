"""The only package that knows all the others: settings to processes, and the route of one piece of data."""

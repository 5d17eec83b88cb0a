"""The routes, a module a kind of object."""

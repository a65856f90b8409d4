"""Connections, sessions, SQL files and error classes."""

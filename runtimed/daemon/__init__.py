"""Starts and stops the daemon and composes it: command line, startup, status, log, announcements."""

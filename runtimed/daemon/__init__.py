"""The daemon process: command line, startup and stop, status, log, announcements."""

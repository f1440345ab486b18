"""Describes generations on disk: manifests, retained generations, their differences."""

"""Describes generations on disk: layout, manifests, retained generations."""

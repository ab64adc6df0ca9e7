"""Multirun: what a sweep leaves behind besides its jobs."""

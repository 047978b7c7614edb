"""Subjects and the tables that list them."""

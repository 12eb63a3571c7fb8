"""Hostile input, family by family and surface by surface, and a judge of what comes back.

A family is one kind of bad input; a form writes it down for one surface; a siege sends it in and listens; the judge
reads the answer. All of it follows from one seed.
"""

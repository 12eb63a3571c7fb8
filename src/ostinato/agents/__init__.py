"""Agents at work: the turn over a session, what a model is shown, and what wakes an agent."""

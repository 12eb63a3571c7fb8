"""The engine: claims tasks, runs their handlers, fires schedules, rescues what a dead node held. Knows no agents."""

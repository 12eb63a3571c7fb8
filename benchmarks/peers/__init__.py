"""Other projects that do what Ostinato does, measured in the same run, each in an environment of its own."""

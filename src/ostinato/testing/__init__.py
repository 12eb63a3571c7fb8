"""What tests of the runtime, and of what is built on it, stand on: real parts made cheap. May import every floor."""

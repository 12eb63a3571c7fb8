"""What agents may call: tools as values, the box that holds them, and the one module that opens paths agents name."""

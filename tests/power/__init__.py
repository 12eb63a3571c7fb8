"""The power cut harness: what a node does to its files is written down, and cut off anywhere.

- `calls`: strace's record, read as operations on files
- `disk`: a disk that has been told of these operations, and what may be on it after a cut
- `cuts`: a recorded node, and its fleet as a cut at some point leaves it behind
- `promises`: what the world outside was told, and the store must therefore know
"""

"""Tests of the models' floor: real servers, real sockets."""

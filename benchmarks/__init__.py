"""What Ostinato can do on this machine, each number beside a floor and a bound measured in the same run."""

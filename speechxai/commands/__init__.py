"""The commands of the command line, a file each; bodies import what they need, so that `--help` is quick."""

"""Plans: the networks of a configuration, with checks and estimates before anything runs."""

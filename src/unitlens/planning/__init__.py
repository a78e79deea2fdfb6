"""What a configuration will do, known before anything runs: networks, checks, sizes."""

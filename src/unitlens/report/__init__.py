"""The page that tells what was trained, what was measured and what came out."""

"""Where a store lies, a disk or a URL: files written whole or not at all, locks, leases."""

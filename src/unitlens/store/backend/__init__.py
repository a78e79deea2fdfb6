"""Access to the place of a store, a disk or a URL: whole files, locks, leases."""

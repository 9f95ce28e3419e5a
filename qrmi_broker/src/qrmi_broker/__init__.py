"""`qrmid`: the daemon that holds a site's credentials, leases and tasks, and speaks QRMI over HTTP."""

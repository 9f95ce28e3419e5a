"""`qrmi slurm`: what a site's Slurm must know of our resources, and whether it does."""

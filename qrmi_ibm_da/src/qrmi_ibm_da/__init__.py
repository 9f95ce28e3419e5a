"""Type ``direct-access``: IBM Direct Access, now called the Quantum System API."""

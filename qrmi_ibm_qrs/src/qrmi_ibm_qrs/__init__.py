"""Type ``qiskit-runtime-service``: Qiskit Runtime Service, now called the Quantum Compute Service."""

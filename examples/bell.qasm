OPENQASM 3.0;
include "stdgates.inc";

// A Bell pair: both qubits are read 0, or both are read 1.
qubit[2] q;
bit[2] meas;

h q[0];
cx q[0], q[1];
meas = measure q;

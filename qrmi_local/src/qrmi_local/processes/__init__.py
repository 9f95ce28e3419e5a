"""The processes behind the simulators: who starts whom, who ends whom, and what is left on disk."""

"""Running containers: OCI spec to plan, monitors, cgroups, the sampan-runtime command, other runtimes."""

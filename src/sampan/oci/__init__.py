"""Pure values of the OCI specifications: digests, references, descriptors, manifests, runtime spec."""

"""Images of Segue and a trial of a fleet in containers, by podman with a storage of its own."""

"""One module per direction of flow; validated at the boundary, frozen inside."""

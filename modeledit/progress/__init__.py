"""How far a run of the workflow is, said while it goes on."""

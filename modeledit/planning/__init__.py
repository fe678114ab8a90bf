"""What a study will take, before anything runs."""

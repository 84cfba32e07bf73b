"""Data of `segue demo`: a pretrained model, its labels, photographs, and the fleet (see NOTICE)."""

"""What `segue demo` needs: a pretrained model, its labels, photographs, and the fleet (see NOTICE)."""

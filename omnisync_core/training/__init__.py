"""How the model is made: data, losses, loops. Needs the extra `train`."""

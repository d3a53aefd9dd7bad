"""Room `explain`: the Grad-CAM of the voted class, in source pixels, from the forward pass that staged the case."""

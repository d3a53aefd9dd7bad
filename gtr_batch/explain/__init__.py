"""Room `explain`: the Grad-CAM of the voted class, in source pixels, from the forward pass that staged the case."""

from gtr_batch.explain.gradcam import GradCamForward, to_source_pixels

__all__ = ["GradCamForward", "to_source_pixels"]

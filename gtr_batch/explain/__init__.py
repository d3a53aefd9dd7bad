"""Step `explain`: the Grad-CAM of the voted class, in source pixels, from the forward pass that staged the case."""

from gtr_batch.explain.gradcam import GradCamForward, to_source_pixels
from gtr_batch.explain.overlay import heat_over_slice, overlay_rgb

__all__ = ["GradCamForward", "heat_over_slice", "overlay_rgb", "to_source_pixels"]

"""Pictures, charts and sliders of the chapters: arrays in, something a notebook shows out.

Nothing here imports the library, and plotly and ipywidgets are imported when first used.
"""

from .charts import PALETTE, bar_chart, line_chart, score_distribution
from .images import CLASS_COLOURS, image_grid, mask_overlay, parsing_images, show_images
from .live_slider import pruning_ratio_slider
from .static_slider import StaticSlider, static_slider

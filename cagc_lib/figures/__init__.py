"""Pictures, charts and sliders of the chapters: arrays in, something a notebook shows out.

Nothing here imports the library, and plotly and ipywidgets are imported when first used.
"""

from .charts import PALETTE, bar_chart, line_chart, score_distribution
from .explorer import explorer, sortable_table
from .images import CLASS_COLOURS, image_grid, mask_overlay, parsing_images, show_images
from .sliders import StaticSlider, live_slider, pruning_ratio_slider, static_slider
from .tables import Table, table

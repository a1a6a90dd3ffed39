"""Chapter 10: the scoreboard: which measures there are, which runs, and the sweep that makes them.

    measures   every column, one registered line with its protocol
    recipes    a TOML file -> the runs it plans, each with a hash
    table      the CSV, which several processes fill
    sweep      trains and measures what the table lacks
"""

from .measures import GROUPS, MEASURES, Measure, Subject, columns_of, measure
from .recipes import Recipe, Run, Sweep, read_sweep
from .sweep import COLUMNS, Place, fill_latencies, planned, run_sweep
from .table import device_name, read_table, write_table

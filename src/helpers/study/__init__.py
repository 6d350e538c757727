"""The study as a whole: settings of all stages, the grid of cells, tables of the reference runs."""

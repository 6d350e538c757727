"""From a lattice of small runs to how much of each category: laws of the loss, fitted, judged, put to use."""

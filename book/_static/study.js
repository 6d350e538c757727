// Docutils marks entries of a bibliography with a role that assistive technology no longer knows; a list holds list items.
document.addEventListener("DOMContentLoaded", () =>
  document.querySelectorAll('[role="doc-biblioentry"]').forEach((entry) => entry.setAttribute("role", "listitem")));

// Docutils marks entries of a bibliography with a role that assistive technology no longer knows; a list holds list items.
document.addEventListener("DOMContentLoaded", () =>
  document.querySelectorAll('[role="doc-biblioentry"]').forEach((entry) => entry.setAttribute("role", "listitem")));

document.addEventListener("DOMContentLoaded", () => {
  // Terms and citations say what they stand for on hover and on focus.
  document.querySelectorAll(".bd-article a.reference.internal[title]").forEach((link) => new bootstrap.Tooltip(link));

  // Where the repository is known, each row that shows an item offers to report an error in it.
  const issues = document.querySelector("a.btn-source-issues-button")?.href;
  document.querySelectorAll(".cell_output").forEach((output) => {
    const dress = () => output.querySelectorAll("table").forEach((table) => {
      const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
      table.querySelectorAll("tbody tr").forEach((row) => dressRow(row, heads, issues));
    });
    dress();
    new MutationObserver(dress).observe(output, { childList: true, subtree: true });  // a searchable table makes its rows anew
  });
});

// Label the cells of a row, which a phone shows one below the other, and link the report of an error.
function dressRow({ cells }, heads, issues) {
  if (cells.length < heads.length) return;  // "nothing found"
  heads.forEach((head, place) => { cells[place].dataset.label = head; });
  const cell = cells[heads.findIndex((head) => ["id", "item"].includes(head))];
  if (!issues || !cell || cell.querySelector("a.report")) return;
  const address = new URL(issues);
  address.search = new URLSearchParams({ title: `Item ${cell.textContent.trim()}: `, body: location.pathname.split("/").pop() });
  cell.append(" ", Object.assign(document.createElement("a"), { className: "report", textContent: "report an error", href: address }));
}

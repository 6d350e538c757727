// Docutils marks entries of a bibliography with a role that assistive technology no longer knows; a list holds list items.
document.addEventListener("DOMContentLoaded", () =>
  document.querySelectorAll('[role="doc-biblioentry"]').forEach((entry) => entry.setAttribute("role", "listitem")));

document.addEventListener("DOMContentLoaded", () => {
  // Terms and citations say what they stand for on hover and on focus.
  document.querySelectorAll(".bd-article a.reference.internal[title]").forEach((link) => new bootstrap.Tooltip(link));

  // Where the repository is known, each row that shows an item offers to report an error in it.
  const issues = document.querySelector("a.btn-source-issues-button")?.href;
  if (issues) document.querySelectorAll(".cell_output table").forEach((table) => offerReports(table, issues));
});

function offerReports(table, issues) {
  const column = [...table.querySelectorAll("thead th")].findIndex((head) => ["id", "item"].includes(head.textContent.trim()));
  if (column < 0) return;
  const add = () => table.querySelectorAll("tbody tr").forEach(({ cells }) => {
    const cell = cells[column];
    if (!cell || cell.querySelector("a.report")) return;
    const link = Object.assign(document.createElement("a"), { className: "report", textContent: "report an error" });
    const address = new URL(issues);
    address.search = new URLSearchParams({ title: `Item ${cell.textContent.trim()}: `, body: location.pathname.split("/").pop() });
    link.href = address;
    cell.append(" ", link);
  });
  add();
  new MutationObserver(add).observe(table, { childList: true, subtree: true });  // a searchable table makes its rows anew
}

"""The book: runner and display of notebooks, gallery of figures, one-page build, students' edition."""

"""The book: profiles, runner, tables and texts of notebooks, gallery of figures, one-page build, students'
edition.
"""

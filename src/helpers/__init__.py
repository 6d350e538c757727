"""Helpers of the BioInstruct study, one sub-package for each subject; a package imports only from the
packages below it, in the order of pyproject.toml (`tool.importlinter`).
"""

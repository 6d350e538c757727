"""Helpers of the BioInstruct study, one sub-package a stage; imports go one way, from the stage above to the one below."""

__version__ = "0.1.0"

"""Helpers of the BioInstruct study, one sub-package per stage; imports go one way, from the stage above to
the one below.
"""

"""Helpers of the BioInstruct study, one sub-package a stage; imports go one way, from the stage above to the
one below.
"""

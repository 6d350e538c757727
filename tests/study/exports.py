"""Exports as `study grid export` writes them."""

from helpers.study.losses import build_loss_tables
from helpers.study.scores import build_score_tables
from helpers.study.tables import write_tables


def export_losses(study, plans, folder):
    write_tables(*build_loss_tables(study, plans, folder))


def export_scores(study, plans, folder):
    write_tables(*build_score_tables(study, plans, folder))

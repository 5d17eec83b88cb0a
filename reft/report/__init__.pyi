from .html import RunResult as RunResult
from .html import render_report as render_report
from .model_card import CardInputs as CardInputs
from .model_card import render_model_card as render_model_card
from .summary import build_summary as build_summary
from .summary import percent as percent
from .summary import table as table

"""The page: a job's report as HTML."""

from __future__ import annotations

from jinja2 import PackageLoader

from archpress_server.report.facts import JobFacts
from archpress_server.report.figures import sections
from archpress_server.report.tables import (
    certificate_facts,
    cost_rows,
    layer_rows,
    model_rows,
    request_facts,
    verdict,
)
from archpress_trainer.report.layout import render_page


def render(facts: JobFacts) -> str:
    """Return the report of a job in any state; the same job gives the same page."""
    result = facts.job.result
    return render_page(
        PackageLoader("archpress_server.report", "templates"),
        "job.html.j2",
        sections(facts),
        job=facts.job,
        verdict=verdict(facts.job),
        request=request_facts(facts.job),
        costs=cost_rows(facts.job),
        warnings=facts.warnings,
        models=model_rows(facts.job),
        old_layers=layer_rows(facts.job.spec.request.architecture),
        new_layers=[] if result is None else layer_rows(result.compression.architecture),
        certificate=[] if result is None else certificate_facts(result.compression.certificate),
    )

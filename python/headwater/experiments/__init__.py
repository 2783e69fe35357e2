"""Is it earning: what slates brought, and what an experiment says, from the log alone.

    from headwater.experiments import report_directory

    found = report_directory(Path("shop"), experiment="ranking")
    found.experiments[0].comparisons          # lift, intervals, p-values by metric

The map, in the order of use:

* `settings`: `ReportSettings`, what counts as click, order and revenue, and how slates are credited.
* `log_columns`: one pass over the log into columns.
* `journeys`: what each person was shown, clicked and bought, and which slate is credited.
* `groups`: what slates earned by variant, scenario, source and segment.
* `units`: what each user of an experiment did from their first slate of it on.
* `comparison`: variants against the baseline; `bootstrap`, `cuped`, `significance` are its statistics.
* `report`: all of it as one `Report`; `report_table` and `report_html` show it.

How visitors are dealt to variants is `core_rs/src/experiment.rs`, what may be configured `headwater.experiment_config`.
Needs numpy (`pip install 'headwater[learning]'`). The guide is `docs/guide-experiments.md`.
"""

from headwater.experiments.report import ExperimentReport, Report, report, report_directory
from headwater.experiments.settings import ReportSettings, settings_for

__all__ = ["ExperimentReport", "Report", "ReportSettings", "report", "report_directory", "settings_for"]

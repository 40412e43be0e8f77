"""The alert rules: what they ask for is measured, and where they lead to is written."""

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from prometheus_client import CollectorRegistry

from deltaroll.node.metrics import (
    ApiMetrics,
    ChallengerMetrics,
    DiskMetrics,
    HistoryMetrics,
    L1Metrics,
    PostingMetrics,
    SenderMetrics,
    VenueMetrics,
    create_registry,
)
from deltaroll.node.readmodel.projector import Projector

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "operate" / "alerts.yml"
WORDS = frozenset(
    (
        *("absent", "and", "by", "delta", "histogram_quantile", "increase", "instance", "job"),
        *("le", "max", "min", "offset", "on", "or", "predict_linear", "rate", "stage", "sum", "up"),
    )
)
"""Of PromQL and of Prometheus itself."""
SEVERITIES = {"page", "warn"}
MAX_SERIES = 1_000
"""Time series of one process: what has no bound does not stay below any."""


def create_all() -> CollectorRegistry:
    """Everything that any process of a node measures."""
    registry = create_registry("test")
    for group in (
        *(ApiMetrics, VenueMetrics, L1Metrics, SenderMetrics, PostingMetrics, ChallengerMetrics),
    ):
        group(registry)
    DiskMetrics(registry, ROOT / "pyproject.toml")
    HistoryMetrics(registry, cast(Projector, SimpleNamespace(lag=0, problem="")))
    return registry


def collect_samples() -> dict[str, list[dict[str, str]]]:
    """Labels by the name of a sample."""
    found: dict[str, list[dict[str, str]]] = {}
    for family in create_all().collect():
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    # A gauge with labels shows nothing before it is set.
    for name, label in (
        ("deltaroll_accounts", "margin"),
        ("deltaroll_batch", "stage"),
        ("deltaroll_finality_distance_batches", "stage"),
        ("deltaroll_finality_distance_seconds", "stage"),
    ):
        found.setdefault(name, []).append({label: "*"})
    return found


SAMPLES = collect_samples()
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALL = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in ALL if "alert" in rule]
RECORDED = {rule["record"] for rule in ALL if "record" in rule}


def collect_names(expression: str) -> set[str]:
    """Names of metrics in an expression."""
    bare = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"', " ", expression)
    names = set(re.findall(r"[a-z][a-z0-9_:]*", re.sub(r"(?<![:\w])\d[\de.]*[a-z]?\b", " ", bare)))
    return names - WORDS


def make_anchor(title: str) -> str:
    """As a forge makes it of a heading."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def read_anchors(path: Path) -> set[str]:
    return {make_anchor(title) for title in re.findall(r"^#+ (.*)$", path.read_text(), re.M)}


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rule__every_metric__is_measured(rule):
    names = collect_names(rule["expr"])
    assert names or "up{" in rule["expr"]
    for name in names:
        assert name in SAMPLES or name in RECORDED, name


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rule__every_label__has_a_value_that_there_is(rule):
    for name, inner in re.findall(r"([a-z][a-z0-9_:]*)\{([^}]*)\}", rule["expr"]):
        for label, value in re.findall(r'(\w+)="([^"]*)"', inner):
            if name in RECORDED or label == "job":
                continue
            known = {labels.get(label) for labels in SAMPLES[name]}
            assert known & {value, "*"}, (name, label, value)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alert__says_what_is_wrong_and_leads_to_what_to_do(rule):
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"]["summary"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor in read_anchors(ROOT / page), anchor


def test_alerts__names__no_two_are_the_same():
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("page", ["run", "monitor", "upgrade", "runbook"])
def test_pages__links_to_anchors__exist(page):
    path = ROOT / "docs" / "operate" / f"{page}.md"
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]*)\)", path.read_text()):
        where = path if not target else (path.parent / target).resolve()
        assert anchor in read_anchors(where), (target, anchor)


def test_metrics__all__are_few_and_described():
    families = list(create_all().collect())
    assert sum(len(family.samples) for family in families) < MAX_SERIES
    for family in families:
        assert family.documentation, family.name
        is_ours = family.name.startswith("deltaroll_")
        assert is_ours or family.name.startswith(("process_", "python_"))


def test_monitor_page__every_metric_of_ours__is_in_it():
    page = (ROOT / "docs" / "operate" / "monitor.md").read_text()
    for family in create_all().collect():
        if family.name.startswith("deltaroll_"):
            assert f"`{family.name}`" in page, family.name


def test_rules__promtool__takes_them():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: package prometheus)")
    done = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

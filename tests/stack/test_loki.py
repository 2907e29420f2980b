"""deploy/loki, as far as it can be checked without Loki."""

import re

import yaml
from queries import INDEXED
from stack import DEPLOY

TEXT = (DEPLOY / "loki/loki.yaml").read_text()
LOKI = yaml.safe_load(re.sub(r"\$\{\w+:-(.*?)\}", r"\1", TEXT))


def hours(text):
    assert text.endswith("h")
    return int(text[:-1])


class TestLoki:
    def test_labels_of_streams_are_those_that_the_tests_of_queries_assume(self):
        """Few and stable ones: no user, no process, no pod."""
        (rule,) = LOKI["limits_config"]["otlp_config"]["resource_attributes"]["attributes_config"]

        assert (rule["action"], set(rule["attributes"])) == ("index_label", INDEXED)

    def test_what_is_not_yet_on_disk_is_found(self):
        """Queries ask for as much of the past as may still be in memory."""
        assert hours(LOKI["querier"]["query_ingesters_within"]) > hours(LOKI["ingester"]["max_chunk_age"])

    def test_nothing_is_refused_for_its_age_before_it_would_be_deleted(self):
        """By its age alone: how far an event may be behind others of its service is another setting."""
        limits = LOKI["limits_config"]

        assert limits["reject_old_samples_max_age"] == limits["retention_period"]
        assert LOKI["compactor"]["retention_enabled"]

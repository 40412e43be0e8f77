"""Schemathesis asks what the OpenAPI document allows, and what it does not: never a 5xx, never an
answer that the document does not describe.
"""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from deltaroll.node.api.documents import make_openapi
from deltaroll.node.api.endpoints import ENDPOINTS
from deltaroll.node.api.limits import Limits, Rate
from tests.api.support import serve
from tests.node.support import Venue

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    response_schema_conformance,
    content_type_conformance,
]
EXAMPLES = 8


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    folder = tmp_path_factory.mktemp("venue")
    with serve(Venue.open_options, Limits(address=Rate(1e9, 1e9)), folder) as server:
        loaded = schemathesis.openapi.from_dict(make_openapi())
        loaded.config.update(base_url=f"http://127.0.0.1:{server.api.port}")
        yield loaded


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.handler.__name__)
def test_endpoint__generated_requests__are_answered_as_described(schema, endpoint, mode):
    operation = schema[endpoint.path][endpoint.method]
    if mode is GenerationMode.NEGATIVE and "{" not in endpoint.path and endpoint.body is None:
        pytest.skip("nothing to get wrong")

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        response = case.call()
        case.validate_response(response, checks=CHECKS)

    check()

"""Values of the formats that only our documents have: within their bounds, which patterns cannot say."""

import schemathesis
from hypothesis import strategies as st

schemathesis.openapi.format("int64", st.integers(-(2**63), 2**63 - 1).map(str))
schemathesis.openapi.format("uint64", st.integers(0, 2**64 - 1).map(str))
schemathesis.openapi.format("uint32", st.integers(0, 2**32 - 1).map(str))

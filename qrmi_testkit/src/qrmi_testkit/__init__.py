"""The conformance suite: what every backend promises, as tests that its own test class inherits.

    from qrmi_testkit.conformance import ResourceConformance

pytest explains a failed `assert` only in modules that it was told of before they are imported, hence the lines below; a
fresh process of the suite has no pytest and does without.
"""

import pkgutil
import sys

if "pytest" in sys.modules:
    import pytest

    for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
        pytest.register_assert_rewrite(_module.name)

"""The fake vendor in a distribution whose import hangs while the file that ``SLOW_IMPORT`` names is there."""

import os
import time

import fakevendor

from qrmi_core import Backend

while os.path.exists(os.environ.get("SLOW_IMPORT", "")):
    time.sleep(0.02)

BACKEND = Backend(contract=1, settings=fakevendor.Settings, payloads={fakevendor.KIND}, open=fakevendor.Fake)

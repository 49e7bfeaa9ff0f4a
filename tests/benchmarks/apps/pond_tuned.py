"""PondSocket with a cyclic collector that runs rarely and never walks the objects of the start."""

import gc

from tests.benchmarks.apps.pond import app as app

gc.collect()
gc.freeze()
# A connection is a few dozen objects: the youngest generation holds a thousand of them.
gc.set_threshold(50_000, 50, 100)

"""Properties are judged by their examples, not by how busy the machine is."""

from hypothesis import settings

from tests.support.examples import examples

settings.register_profile("untimed", deadline=None, max_examples=examples(100))
settings.load_profile("untimed")

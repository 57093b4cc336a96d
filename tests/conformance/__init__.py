"""The contracts as tests, run on every installed plugin: pytest --pyargs fieldcast.conformance."""

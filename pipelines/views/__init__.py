"""An `Objective` as what others' optimisers want, a module for each library; see
`pipelines/optimize_views.py`, which imports them when they are asked for."""

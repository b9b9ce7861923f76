"""A project folder: its chain of stages, and where a project, dataset or run stands."""

"""Backups: their form on disk, the plans of what to write and read, and carrying those out.

`plan` decides from manifests alone; `repository` is the only writer of backup folders; `files` is the only user of
Parquet; `take`, `verify` and `restore` do what was planned.
"""

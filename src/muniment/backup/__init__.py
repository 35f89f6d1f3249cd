"""Backups: what they are on disk, what to write and to read, and the doing of it.

`plan` decides from manifests alone; `repository` is the only writer of backup folders; `files` is the only user of
Parquet; `take`, `verify` and `restore` do what was planned.
"""

"""The runtimes that are measured, one file each; `table` lists them."""

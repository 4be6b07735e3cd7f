"""`python -m temport` is the command `temport`."""

from temport.exporter.cli import main

main()

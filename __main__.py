"""``python -m alignhmr`` is the ``alignhmr`` command."""

from alignhmr.deployments.cli import main

if __name__ == "__main__":
    main()
